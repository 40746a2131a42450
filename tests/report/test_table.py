"""The table's columns, on the page, in Markdown and as CSV."""

import re

import numpy as np
import pytest
from report_pages import planted, rows, section, words

from flowers_tl.results import scores


def test_a_metric_is_one_row_and_a_column_of_page_markdown_and_csv(run, report, monkeypatch):
    half = scores.Metric("half", lambda logits, labels: labels.size / 20, "half", "one half of ten images", ".3f")
    monkeypatch.setattr(scores, "METRICS", (*scores.METRICS, half))
    planted(run)
    page, markdown, table = report()
    assert [row[-1] for row in rows(section(page, "table"))] == ["0.500 ± 0.000", "0.500"]
    for text in (words(section(page, "table")), markdown):
        assert "test half" in text
    assert "one half of ten images" in page
    assert [(row["half_mean"], row["half_sd"]) for row in table] == [("0.5", "0.0"), ("0.5", "")]


def test_top_5_counts_the_first_five(run, report):
    truth = np.arange(7)
    logits = np.tile(np.arange(7, 0, -1, dtype=np.float32), (7, 1))  # the order is 0, 1, 2, ... for every image
    run("a", truth=truth, names=list("abcdefg"), logits=logits)
    page, _, table = report()
    assert rows(section(page, "table"))[0][7].startswith("71.4 %")
    assert float(table[0]["top5_mean"]) == pytest.approx(5 / 7, abs=1e-5)


def test_page_csv_and_markdown_agree(run, report):
    planted(run)
    page, markdown, table = report()
    lines = [line for line in markdown.split("## All strategies")[1].splitlines() if line.startswith("|")][2:4]
    for shown, line, row in zip(rows(section(page, "table")), lines, table, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert [re.sub(r"[()]", "", cell) for cell in cells] == shown
        assert shown[0] == row["label"]
        for place, name in ((1, "val"), (2, "accuracy"), (6, "balanced")):
            assert shown[place].startswith(f"{100 * float(row[f'{name}_mean']):.1f} ")
        assert shown[2].endswith(f"{100 * float(row['accuracy_low']):.1f} to {100 * float(row['accuracy_high']):.1f}")
        assert shown[3].startswith(f"{int(row['learning_parameters']):,} ")
    answer = words(re.search(r'<p class="headline">.*?</p>', page)[0])
    assert answer in markdown
    for sentence in re.findall(r"<li>(.*?)</li>", section(page, "tests")):
        assert f"- {words(sentence)}" in markdown


def test_unlike_epochs_have_a_column_and_a_word(run, report):
    run("a", seed=0, epochs=3)
    run("b", seed=1, epochs=4)
    run("c", strategy="other", epochs=5, val=0.5)
    run("d", strategy="linear_probe", epochs=0, val=0.4)
    page, _, table = report()
    assert [row[6] for row in rows(section(page, "table"))] == ["3.5 ± 0.7", "5", "0"]
    assert [row["epochs"] for row in table] == ["3.5", "5.0", "0.0"]
    assert "The runs had different numbers of epochs (3, 4, 5)" in page


def test_flops_and_memory_stand_beside_the_seconds_where_a_run_has_them(run, report):
    run("a", seed=0, measured={"flops": {"forward": 3_640_000_000, "training": 10**15}, "peak_memory_gb": None})
    run("b", seed=1, measured={"flops": {"forward": 3_640_000_000, "training": 2 * 10**15}, "peak_memory_gb": None})
    run("c", strategy="other", val=0.5)
    page, markdown, table = report()
    header = re.findall(r"<button[^>]*>(.*?)</button>", section(page, "table"))
    assert header[4:8] == ["seconds per run", "TFLOPs of training", "GFLOPs per image", "seeds"]
    assert [row[5:7] for row in rows(section(page, "table"))] == [["1,500", "3.64"], ["-", "-"]]
    assert "TFLOPs of training" in markdown
    assert [(row["training_flops"], row["forward_flops"], row["peak_memory_gb"]) for row in table] == [
        ("1500000000000000.0", "3640000000.0", ""),
        ("", "", ""),
    ]
    run("d", strategy="third", val=0.4, measured={"peak_memory_gb": 1.5})
    assert rows(section(report()[0], "table"))[2][5:8] == ["-", "-", "1.5"]

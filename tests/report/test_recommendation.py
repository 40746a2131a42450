"""Validation accuracy selects, budget by budget, and the test images show what the selection is worth."""

import json
import re

import numpy as np
from report_pages import rows, section, words
from written_runs import NAMES, TRUTH, logits_of


def test_val_chooses_and_the_test_has_no_part_in_it(run, report):
    worse = TRUTH.copy()
    worse[:5] = 2
    run("a", strategy="chosen", val=0.9, logits=logits_of(worse), seconds=40)
    run("b", strategy="better_on_test", val=0.8, seconds=20)
    page, _, table = report()
    assert [row["label"] for row in table] == ["chosen", "better_on_test"]
    assert [row["best_by_val"] for row in table] == ["1", "0"]
    assert "chosen has the best validation accuracy" in page
    steps = re.findall(r"<strong>(.*?)</strong>", section(page, "recommendation"))
    assert steps == ["better_on_test", "chosen", "chosen"]  # as time grows; both learn as much, so val decides
    assert "better_on_test is better than chosen by 50.0 points" in words(section(page, "recommendation"))
    assert "although the other has the better validation accuracy" in words(section(page, "recommendation"))


def test_advice_takes_what_is_better_by_val_and_says_what_is_not_decided(run, report):
    truth = np.repeat(np.arange(3), 100)
    settings = {"truth": truth, "names": NAMES}

    def wrong(count):
        return logits_of(np.where(np.arange(300) < count, (truth + 1) % 3, truth))

    run("a", strategy="cheap", val=0.7, logits=wrong(90), trainable=10, seconds=5, **settings)
    run("b", strategy="no_better", val=0.6, logits=wrong(80), trainable=20, seconds=10, **settings)
    run("c", strategy="dearer", val=0.71, logits=wrong(88), trainable=30, seconds=20, **settings)
    run("d", strategy="dearest", val=0.9, logits=wrong(30), trainable=40, seconds=50, **settings)
    page, markdown, _ = report()
    advice = words(section(page, "recommendation"))
    assert advice.index("As time grows") < advice.index("from 5.0 s per run cheap")
    assert advice.index("dearest") < advice.index("As trainable parameters grow") < advice.index("from 10 (1 %)")
    assert "dearer and cheap do not differ significantly (difference 0.7 points" in advice
    # dearer has not proved to be better than cheap, so it is cheap that dearest has to beat
    assert "dearest is better than cheap by 20.0 points" in advice
    assert "More expensive and no better by validation accuracy: no_better." in advice
    # A step without a significant gain is folded away.
    shown, *folded = re.findall("<strong>(.*?)</strong>", section(page, "recommendation"))[:3]
    assert (shown, folded) == ("cheap", ["dearest", "dearer"])
    assert section(page, "recommendation").index("<details>") < section(page, "recommendation").index("dearer")
    assert "from 40 (4 %): **dearest**, validation 90.0 %, test 90.0 %. dearest is better than cheap by" in markdown


def test_runs_that_were_not_tested_are_chosen_by_val_all_the_same(run, report):
    run("a", test=np.nan, kept=False)
    run("b", strategy="other", val=0.5, test=np.nan, kept=False)
    page, _, _ = report()
    assert "fine_tuning has the best validation accuracy (90.0 %) and no test accuracy: it was not tested." in words(
        page
    )
    assert "fine_tuning against other: not tested." in page


def test_no_val_chooses_nothing(run, report):
    run("a", val=None, epochs=0)
    run("b", strategy="other", val=None, epochs=0)
    page, _, table = report()
    assert "No run was validated, so no strategy is recommended" in page
    assert "Nothing is recommended" in section(page, "recommendation")
    assert {row["best_by_val"] for row in table} == {"0"}


def test_unlike_numbers_of_training_images_are_advised_apart(run, report, tmp_path):
    for name, strategy, size, val in (("a", "one", 30, 0.9), ("b", "two", 30, 0.8), ("c", "one", 60, 0.95)):
        folder = run(name, strategy=strategy, val=val, data={"limit": size})
        result = json.loads((folder / "result.json").read_text())
        result["data"]["train"] = size
        (folder / "result.json").write_text(json.dumps(result))
    page, markdown, _ = report()
    advice = words(section(page, "recommendation"))
    assert advice.index("Training images: 60") < advice.index("Training images: 30")
    assert "one data.limit=60 is the only one" in advice
    assert "differ in more than their strategy" in markdown
    assert rows(section(page, "table"))[0][6] == "60"


def test_cold_seconds_advise_where_all_runs_have_them_and_else_none(run, report, tmp_path):
    """Which of two strategies is dear depends on who has found its features in the cache."""
    truth = {"truth": np.repeat(np.arange(3), 10), "names": NAMES}
    run("a0", strategy="dear", seed=0, val=0.9, seconds=5, cold=50, **truth)
    run("a1", strategy="dear", seed=1, val=0.9, seconds=15, cold=60, **truth)
    run("b", strategy="cheap", val=0.8, seconds=20, cold=30, **truth)
    page, markdown, table = report()
    assert "from 30 s per run cheap" in words(section(page, "recommendation"))
    assert "cheap takes 30 s per run, dear 55 s." in markdown
    assert 'title="wall-clock time, test included, with an empty cache"' in page
    assert [row[4] for row in rows(section(page, "table"))] == ["55 ± 7", "30"]
    assert [(row["seconds_mean"], row["seconds_with"]) for row in table] == [
        ("55.0", "empty cache"),
        ("30.0", "empty cache"),
    ]
    assert [line.split("&")[-1].strip() for line in tex_rows(tmp_path)] == [r"0.0306 \\", r"0.00833 \\"]
    assert "Seconds are those with an empty cache" in page
    assert "Seconds are as recorded" not in page + markdown
    # One run without them: those of no run.
    run("c", strategy="other", val=0.1, seconds=70, **truth)
    page, markdown, table = report()
    assert "from 10 s per run dear" in words(section(page, "recommendation"))
    assert 'title="wall-clock time, test included, as recorded"' in page
    assert [row["seconds_mean"] for row in table] == ["10.0", "20.0", "70.0"]
    assert {row["seconds_with"] for row in table} == {"as recorded"}
    assert "Seconds are as recorded" in page
    assert "empty cache" not in page + markdown + (tmp_path / "report" / "report.tex").read_text()


def tex_rows(folder):
    text = (folder / "report" / "report.tex").read_text()
    assert "hours are of all seeds, each with an empty cache." in text
    return text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()

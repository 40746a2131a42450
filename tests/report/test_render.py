"""The report says what the runs' answers say: planted logits, numbers by hand, and nothing that a run brings is markup."""

import base64
import csv
import html
import io
import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from written_runs import NAMES, TRUTH, logits_of, write_run

from flowers_tl.compare import main as compare
from flowers_tl.report import summarize, write_report
from flowers_tl.report.paired_tests import holm
from flowers_tl.results import scores
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.predictions import Predictions
from flowers_tl.results.statistics import difference, mcnemar, mean_interval, paired_difference
from flowers_tl.utils.errors import UserError


@pytest.fixture
def run(tmp_path):
    """Write a run below tmp_path/runs: a function of its name and of what :func:`write_run` takes."""
    return lambda name, **settings: write_run(tmp_path / "runs" / name, **settings)


@pytest.fixture
def groups(tmp_path):
    """The groups of all runs written so far."""
    return lambda: group_runs(find_runs([tmp_path / "runs"])[0])[0]


@pytest.fixture
def report(tmp_path, groups):
    """Write the report of all runs written so far; return its page, Markdown and CSV rows."""

    def write(notes=()):
        page = write_report(summarize(groups(), notes), tmp_path / "report")
        with open(page.with_suffix(".csv"), newline="") as file:
            return page.read_text(), page.with_suffix(".md").read_text(), list(csv.DictReader(file))

    return write


def section(page, name):
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)[0]


def words(markup):
    """The text that a reader sees."""
    spaced = re.sub(r"(</?(?:td|th|tr|li|ol|p|h\d|small|span|figcaption|div|strong))\b", r" \1", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", spaced)).split())


def rows(markup):
    """Cells of a table's body, as text."""
    found = re.findall(r"<tr>(.*?)</tr>", markup.split("<tbody>")[1], re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<(?:td|th).*?</(?:td|th)>", row, re.DOTALL)] for row in found]


def planted(run):
    """Two seeds of fine_tuning, 9 and 8 of 10 right, and one of feature_extraction, 6 of 10."""
    nine, eight, six = TRUTH.copy(), TRUTH.copy(), TRUTH.copy()
    nine[4] = 0
    eight[[4, 9]] = 0
    six[[4, 7, 8, 9]] = 0
    run("a", seed=0, val=0.91, logits=logits_of(nine), seconds=30)
    run("b", seed=1, val=0.93, logits=logits_of(eight), seconds=34)
    run("c", strategy="feature_extraction", val=0.8, logits=logits_of(six), trainable=50, seconds=4.25)


def test_the_numbers_are_those_counted_by_hand(run, report):
    planted(run)
    page, _, table = report()
    tuned, frozen = rows(section(page, "table"))
    hits = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 1, 0]])
    interval, balanced = mean_interval(hits), mean_interval(hits, np.array([1 / 4] * 4 + [1 / 2] * 2 + [1 / 4] * 4))
    span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert f"a test accuracy of 85.0 ± 7.1 % (95 % CI {span}, over images and seeds)" in words(page)
    assert tuned[:2] == ["fine_tuning", "0, 1"]
    assert tuned[2] == f"85.0 ± 7.1 % {span}"
    # (1 + 1/2 + 1) / 3 and (1 + 1/2 + 3/4) / 3
    assert tuned[3] == f"79.2 ± 5.9 % {100 * balanced.low:.1f} to {100 * balanced.high:.1f}"
    assert tuned[4] == "-"  # of three classes all are among the first five
    # All answers are e^3 / (e^3 + 2) = 0.9094 sure.
    assert tuned[5] == "0.059 ± 0.071"
    assert tuned[6:] == ["92.0 ± 1.4 %", "250 25 %", "32 ± 3"]
    assert frozen[2].startswith("60.0 %")
    assert frozen[5:] == ["0.309", "80.0 %", "50 5 %", "4.2"]
    assert float(table[0]["accuracy_mean"]) == 0.85
    assert float(table[0]["accuracy_low"]) == pytest.approx(interval.low, abs=1e-5)
    assert float(table[0]["accuracy_sd"]) == pytest.approx(0.005**0.5, abs=1e-6)
    assert float(table[1]["calibration_mean"]) == pytest.approx(np.exp(3) / (np.exp(3) + 2) - 0.6, abs=1e-5)


def test_a_metric_is_one_row_and_a_column_of_page_markdown_and_csv(run, report, monkeypatch):
    half = scores.Metric("half", lambda logits, labels: labels.size / 20, "half", "one half of ten images", ".3f")
    monkeypatch.setattr(scores, "METRICS", (*scores.METRICS, half))
    planted(run)
    page, markdown, table = report()
    assert [row[6] for row in rows(section(page, "table"))] == ["0.500 ± 0.000", "0.500"]
    for text in (words(section(page, "table")), markdown):
        assert "test half" in text
    assert "one half of ten images" in page
    assert [(row["half_mean"], row["half_sd"]) for row in table] == [("0.5", "0.0"), ("0.5", "")]


def test_top_5_counts_the_first_five(run, report):
    truth = np.arange(7)
    logits = np.tile(np.arange(7, 0, -1, dtype=np.float32), (7, 1))  # the order is 0, 1, 2, ... for every image
    run("a", truth=truth, names=list("abcdefg"), logits=logits)
    page, _, table = report()
    assert rows(section(page, "table"))[0][4].startswith("71.4 %")
    assert float(table[0]["top5_mean"]) == pytest.approx(5 / 7, abs=1e-5)


def test_page_csv_and_markdown_agree(run, report):
    planted(run)
    page, markdown, table = report()
    lines = [line for line in markdown.split("## All groups")[1].splitlines() if line.startswith("|")][2:4]
    for shown, line, row in zip(rows(section(page, "table")), lines, table, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert [re.sub(r"[()]", "", cell) for cell in cells] == shown
        assert shown[0] == row["label"]
        for place, name in ((2, "accuracy"), (3, "balanced"), (6, "val")):
            assert shown[place].startswith(f"{100 * float(row[f'{name}_mean']):.1f} ")
        assert shown[2].endswith(f"{100 * float(row['accuracy_low']):.1f} to {100 * float(row['accuracy_high']):.1f}")
        assert shown[7].startswith(f"{int(row['learning_parameters']):,} ")
    answer = words(re.search(r'<p class="headline">.*?</p>', page)[0])
    assert answer in markdown
    for sentence in re.findall(r"<li>(.*?)</li>", section(page, "tests")):
        assert f"- {words(sentence)}" in markdown


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
    assert "from 5.0 s per run cheap" in advice
    assert "dearer and cheap do not differ significantly (difference 0.7 points" in advice
    # dearer has not proved to be better than cheap, so it is cheap that dearest has to beat
    assert "dearest is better than cheap by 20.0 points" in advice
    assert "More expensive and no better by validation accuracy: no_better." in advice
    assert "from 40 (4 %): **dearest**, validation 90.0 %, test 90.0 %. dearest is better than cheap by" in markdown


def test_a_comparison_is_the_statistics_in_words(run, report):
    tuned, frozen = np.ones((2, 4, 10), bool)
    for hits, wrong in ((tuned, ([4], [4, 9], [9], [])), (frozen, ([4, 8], [4, 8, 9], [9], [2, 5]))):
        for seed, images in enumerate(wrong):
            hits[seed, images] = False
    for name, hits in (("tuned", tuned), ("frozen", frozen)):
        for seed in range(4):
            answers = np.where(hits[seed], TRUTH, (TRUTH + 1) % 3)
            run(f"{name}{seed}", strategy=name, seed=seed, val=0.9 - (name == "frozen") / 10, logits=logits_of(answers))
    page, _, table = report()
    interval = paired_difference(tuned, frozen)
    assert interval.low < 0 < interval.high
    assert interval.low != pytest.approx(difference(tuned, frozen).low, abs=1e-3)
    told = f"difference 10.0 points, 95 % CI \u2212{-100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert f"tuned and frozen do not differ significantly ({told})." in words(section(page, "tests"))
    ps = holm([mcnemar(a, b).p for a, b in zip(tuned, frozen, strict=True)])
    cell = rows(section(page, "tests"))[0][4]
    counts = ("1 against 0", "1 against 0", "0 against 0", "2 against 0")
    assert cell == " ".join(f"seed {k}: {counts[k]}, p = {ps[k]:.3f}" for k in range(4))
    assert "corrected by Holm's method for the 4 tests" in words(section(page, "tests"))
    assert float(table[1]["best_minus_this_low"]) == pytest.approx(interval.low, abs=1e-5)
    assert float(table[1]["mcnemar_holm_largest_p"]) == pytest.approx(max(ps), abs=1e-5)


def test_groups_with_unlike_seeds_are_compared_without_pairing_them(run, report):
    planted(run)
    page, _, table = report()
    tuned = [[1, 1, 1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 1, 0]]
    interval = difference(tuned, [[1, 1, 1, 1, 0, 1, 1, 0, 0, 0]])
    assert float(table[1]["best_minus_this_low"]) == pytest.approx(interval.low, abs=1e-5)
    assert "Groups with different seeds are compared without pairing the seeds." in page
    assert rows(section(page, "tests"))[0][4].startswith("seed 0: 3 against 0")


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_matrix_of_all_pairs_where_they_are_few(run, report):
    for k in range(8):
        run(f"run{k}", strategy=f"s{k}", val=0.9 - k / 100, logits=logits_of(np.where(np.arange(10) < k, 2, TRUTH)))
    pairs = section(report()[0], "tests").split("All pairs</h3>")[1]
    table = rows(pairs)
    assert [row[0] for row in table] == [f"s{k}" for k in range(8)]
    assert table[0][1] == ""
    assert table[0][6].startswith("50.0 ")  # s5 calls four daisies and one rose tulips; s0 errs in nothing
    assert table[5][1].startswith("\u221250.0 ")
    run("run8", strategy="s8", val=0.5)
    assert "All pairs" not in section(report()[0], "tests")


def test_one_seed_says_that_the_interval_is_over_images_only(run, report):
    run("a", val=0.9)
    run("b", strategy="other", val=0.8, logits=logits_of(np.zeros(10, int)))
    page, markdown, table = report()
    assert "over images only)." in words(section(page, "tests"))
    assert "Confidence intervals are 95 %, over images." in words(section(page, "table"))
    assert "another seed may give another result" in markdown
    assert table[0]["accuracy_over"] == "images"
    assert table[0]["accuracy_sd"] == ""


def test_one_group_is_shown_and_nothing_is_compared(run, report):
    run("a")
    page, markdown, table = report()
    assert "There is no other setting to compare it with." in page
    assert "so there is nothing to compare it with" in section(page, "recommendation")
    assert "So nothing is tested." in section(page, "tests")
    assert "No mistakes." in section(page, "mistakes")
    assert "Nothing is tested." in markdown
    assert len(table) == 1


def test_runs_without_answers_stand_in_the_tables_as_recorded(run, report):
    run("a", strategy="old", val=0.95, test=0.77, kept=False)
    run("b", strategy="half", seed=0, val=0.5)
    run("c", strategy="half", seed=1, val=0.5, kept=False)
    run("d", strategy="new", val=0.9)
    run("e", strategy="newer", val=0.8)
    page, markdown, table = report()
    shown = {row[0]: row for row in rows(section(page, "table"))}
    assert shown["old"][2:6] == ["77.0 %", "77.0 %", "-", "-"]
    assert shown["half"][2:4] == ["100.0 ± 0.0 %", "100.0 ± 0.0 %"]
    assert table[0]["label"] == "old"
    assert table[0]["accuracy_low"] == ""
    assert "no confidence interval without predictions by image" in page
    assert (
        "new, the best by validation accuracy of those with predictions by image on record, against every other" in page
    )
    for text in (words(section(page, "provenance")), markdown):
        assert "so without confidence intervals and tests: old, half (1 of 2 runs)." in text


def test_only_old_runs_still_make_a_page(run, report):
    run("a", kept=False)
    run("b", strategy="other", val=0.5, kept=False)
    page, _, _ = report()
    assert "No confidence intervals: the predictions by image of these runs are not on record." in page
    assert 'id="classes"' not in page
    assert "Too few groups have predictions by image on record. So nothing is tested." in words(section(page, "tests"))


def test_runs_that_were_not_tested_are_chosen_by_val_all_the_same(run, report):
    run("a", test=np.nan, kept=False)
    run("b", strategy="other", val=0.5, test=np.nan, kept=False)
    page, _, _ = report()
    assert "fine_tuning has the best validation accuracy (90.0 %) and no test accuracy: it was not tested." in words(
        page
    )
    assert "fine_tuning against other: not tested." in page


def test_a_damaged_file_of_answers_is_as_good_as_none(run, report):
    (run("a") / "predictions.npz").write_bytes(b"PK\x03\x04 not whole")
    run("b", strategy="other", val=0.5)
    page, _, _ = report()
    assert "predictions.npz of a can&#39;t be read" in section(page, "provenance")


def test_answers_that_belie_the_record_are_pointed_out(run, report):
    run("a", test=0.4)
    page, _, _ = report()
    assert rows(section(page, "table"))[0][2].startswith("100.0 %")
    assert "in a result.json and predictions.npz give different test accuracies" in words(section(page, "provenance"))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"images": [f"jpg/other_{k}.jpg" for k in range(10)]}, "different test images"),
        ({"truth": TRUTH[::-1].copy()}, "different labels of the test images"),
        ({"names": ["daisy", "rose", "lily"]}, "different classes"),
        ({"truth": TRUTH[:9], "kept": False}, "different numbers of test images"),
    ],
)
def test_runs_on_unlike_images_are_refused(run, report, other, what):
    run("a")
    run("b", strategy="other", **other)
    with pytest.raises(UserError, match=f"have {what}, so one report can't compare them"):
        report()


def test_no_val_chooses_nothing(run, report):
    run("a", val=None, epochs=0)
    run("b", strategy="other", val=None, epochs=0)
    page, _, table = report()
    assert "No run was validated, so no strategy is recommended" in page
    assert "Nothing is recommended" in section(page, "recommendation")
    assert {row["best_by_val"] for row in table} == {"0"}


def test_a_diverged_run_is_wrong_and_breaks_nothing(run, report):
    run("a", val=0.1, logits=np.full((10, 3), np.nan, np.float32), test=0.0)
    run("b", strategy="other")
    page, _, table = report()
    assert float(table[1]["accuracy_mean"]) == 0
    assert table[1]["calibration_mean"] == ""
    assert not re.search(r"\bnan\b", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL), re.IGNORECASE)


def test_unlike_numbers_of_training_images_are_advised_apart(run, report, tmp_path):
    for name, strategy, size, val in (("a", "one", 30, 0.9), ("b", "two", 30, 0.8), ("c", "one", 60, 0.95)):
        folder = run(name, strategy=strategy, val=val, data={"limit": size})
        result = json.loads((folder / "result.json").read_text())
        result["data"]["train"] = size
        (folder / "result.json").write_text(json.dumps(result))
    page, markdown, _ = report()
    advice = words(section(page, "recommendation"))
    assert advice.index("Training images: 60") < advice.index("Training images: 30")
    assert "one data.limit=60 is the only group" in advice
    assert "differ in more than their strategy" in markdown
    assert rows(section(page, "table"))[0][-1] == "60"


def test_unlike_epochs_have_a_column_and_a_word(run, report):
    run("a", seed=0, epochs=3)
    run("b", seed=1, epochs=4)
    run("c", strategy="other", epochs=5, val=0.5)
    run("d", strategy="linear_probe", epochs=0, val=0.4)
    page, _, table = report()
    assert [row[-1] for row in rows(section(page, "table"))] == ["3.5 ± 0.7", "5", "0"]
    assert [row["epochs"] for row in table] == ["3.5", "5.0", "0.0"]
    assert "The runs had different numbers of epochs (3, 4, 5)" in page


def test_by_species_the_best_stands_against_the_one_that_learns_least(run, report):
    run("a", strategy="best", val=0.9, trainable=300)
    run("b", strategy="next", val=0.8, trainable=200)
    run("c", strategy="least", val=0.7, trainable=100)
    assert re.findall("<option.*?selected>(.*?)<", report()[0]) == ["best", "least"]
    run("d", strategy="small_and_best", val=0.95, trainable=50)
    assert re.findall("<option.*?selected>(.*?)<", report()[0]) == ["small_and_best", "best"]


def test_species_gain_and_lose_as_counted(run, report):
    planted(run)
    page, _, _ = report()
    species = section(page, "classes")
    assert rows(species) == [
        ["tulip", "4", "87.5 %", "25.0 %", "62.5"],
        ["daisy", "4", "100.0 %", "100.0 %", "0.0"],
        ["rose", "2", "50.0 %", "50.0 %", "0.0"],
    ]
    assert words(re.search(r'<ol id="gains">.*?</ol>', species)[0]) == "tulip +62.5 points 25.0 to 87.5 %, 4 images"
    assert '<ol id="losses"></ol>' in species
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert data["classes"]["accuracies"] == {"0": [1.0, 0.5, 0.875], "1": [1.0, 0.5, 0.25]}


def test_confused_pairs_and_worst_mistakes_are_those_planted(run, report):
    first, second = logits_of(TRUTH), logits_of(TRUTH)
    first[9] = [8, 0, 0]  # tulips taken for daisies: one surely in both seeds, one less so in one
    second[9] = [9, 0, 0]
    second[8] = [9, 0, 0]
    first[4] = second[4] = [3, 2, 0]  # a rose taken for a daisy
    run("a", seed=0, logits=first)
    run("b", seed=1, logits=second)
    page, _, _ = report()
    pairs = [words(text) for text in re.findall(r"<figure.*?</figure>", section(page, "confused"))]
    assert pairs == [
        "image_6.jpg tulip 1.5 of 4 predicted as daisy image_0.jpg daisy 0 of 4 predicted as tulip",
        "image_5.jpg rose 1 of 2 predicted as daisy image_0.jpg daisy 0 of 4 predicted as rose",
    ]
    found = [words(text) for text in re.findall(r"<figcaption>(.*?)</figcaption>", section(page, "mistakes"))]
    share = np.mean([np.exp(8) / (np.exp(8) + 2), np.exp(9) / (np.exp(9) + 2)])
    assert found[0] == f"predicted daisy true tulip confidence {100 * share:.1f} %, wrong in 2 of 2 seeds"
    assert found[1] == "predicted daisy true rose confidence 70.5 %, wrong in 2 of 2 seeds"
    assert found[2].startswith("predicted daisy true tulip")
    assert found[2].endswith("wrong in 1 of 2 seeds")


def test_a_solved_head_is_a_level_and_gaps_are_left_out(run, report):
    run("a", strategy="linear_probe", epochs=0, val=0.7)
    folder = run("b")
    (folder / "history.csv").write_text(
        "epoch,train/loss,val/loss,val/accuracy\n0,2.0,,\n1,inf,0.5,0.8\n2,1.0,0.4,0.9\n"
    )
    page, _, _ = report()
    curves = section(page, "curves")
    assert curves.count('class="series line level"') == 2  # val loss and val accuracy
    assert rows(curves) == [["linear_probe", "-", "0.400", "70.0 %"], ["fine_tuning", "1.000", "0.400", "90.0 %"]]
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["curves"][0]["values"][1] == ["2.000", "-", "1.000"]
    assert data["curves"][2]["values"][1] == ["-", "80.0 %", "90.0 %"]


def test_all_panels_have_the_epochs_of_the_slider(run, report):
    """Else the cursor of a panel with fewer values would leave it."""
    (run("a") / "history.csv").write_text(
        "epoch,train/loss,val/loss,val/accuracy\n0,2.0,1.0,0.5\n1,1.0,0.5,\n2,0.5,,\n"
    )
    curves = section(report()[0], "curves")
    assert 'max="3"' in curves
    assert re.findall('data-epochs="(.*?)"', curves) == ["3", "3", "3"]


def test_one_epoch_is_a_point(run, report):
    run("a", epochs=1)
    curves = section(report()[0], "curves")
    assert curves.count('class="series dot"') == 3
    assert "series line" not in curves


HOSTILE = "<script>alert(1)</script>\"'&</script><!--{{style}}|`$x$"


def test_nothing_that_a_run_brings_is_markup(run, report, tmp_path):
    wrong = np.zeros(10, int)
    settings = {
        "names": [f"{HOSTILE}{k}" for k in range(3)],
        "images": [f"{HOSTILE.replace('/', '')}{k}.jpg" for k in range(10)],
    }
    run("a", strategy=HOSTILE, logits=logits_of(wrong), root=tmp_path, **settings)
    run("b", strategy="other", val=0.2, **settings)
    page, markdown, table = report([f"A note: {HOSTILE}"])
    assert re.findall(r"<script.*?>", page) == ['<script type="application/json" id="data">', "<script>"]
    assert page.count("</script") == 2
    assert "<!--" not in page
    assert balanced(page) == []
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["classes"]["names"][1] == f"{HOSTILE}1"
    assert data["classes"]["labels"]["0"] == HOSTILE
    assert HOSTILE in words(section(page, "table"))
    assert table[0]["label"] == HOSTILE
    assert not re.search(r"(?<!\\)[<`]", markdown)
    lines = [line for line in markdown.splitlines() if line.startswith("| \\<script")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10, 6}


def balanced(page):
    """Tags that are closed out of turn, or never."""
    page = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    faults, open_tags = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "link", "img", "input", "wbr"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            if not open_tags or open_tags.pop() != tag:
                faults.append(tag)

    Reader().feed(page)
    return faults + open_tags


def test_the_page_needs_nothing_from_elsewhere(run, report, tmp_path):
    planted(run)
    run("my runs/d", strategy="other", val=0.1)
    notes = [f"{tmp_path}/runs/my runs/z is left out: it failed at /some/where/else/file.txt"]
    page, markdown, table = report(notes)
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert all(address.startswith("data:") for address in re.findall(r' (?:src|href)="([^#].*?)"', page))
    assert balanced(page) == []
    for text in (page, markdown, str(table)):
        assert str(tmp_path) not in text
        assert "/some/where" not in text
    assert "<li>z is left out: it failed at file.txt</li>" in page
    assert len(set(re.findall(r' id="(.*?)"', page))) == len(re.findall(r' id="(.*?)"', page))


def test_the_same_runs_give_the_same_files(run, report):
    planted(run)
    assert report() == report()


def draw(root, names):
    for k, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 200), (20 * k, 90, 120)).save(root / name)


def test_images_are_small_and_in_the_page(run, report, tmp_path):
    wrong = np.zeros(10, int)
    draw(tmp_path / "root", [f"jpg/image_{k}.jpg" for k in range(10)])
    run("a", logits=logits_of(wrong), root=tmp_path / "root")
    page, _, _ = report()
    images = re.findall(r"<img (.*?)/>", page)
    assert len(images) == 4 + 6  # both of two pairs, and six mistakes
    for image in images:
        assert 'width="128" height="64"' in image
        assert re.search(r'alt=".*?(daisy|rose|tulip)', image)
        file = io.BytesIO(base64.b64decode(re.search('src="data:image/jpeg;base64,(.*?)"', image)[1]))
        assert Image.open(file).size == (128, 64)
    assert "not shown" not in page


def test_missing_and_damaged_images_leave_a_name(run, report, tmp_path):
    wrong = np.zeros(10, int)
    names = [f"jpg/image_{k}.png" for k in range(10)]
    names[8], names[9] = "../outside.png", str(tmp_path / "root" / "jpg" / "image_9.png")
    draw(tmp_path / "root", [*names[:8], "jpg/image_9.png"])
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (tmp_path / "root" / "jpg" / "image_4.png").write_bytes(b"no image")
    (tmp_path / "root" / "jpg" / "image_5.png").unlink()
    folder = run("a", logits=logits_of(wrong), root=tmp_path / "root", images=names)
    page, _, _ = report()
    missed = words(section(page, "mistakes"))
    for name in ("image_4.png", "image_5.png", "outside.png", "image_9.png"):  # nothing outside the root is read
        assert name in missed
    assert "4 of 7 images are not shown: their files are missing or can't be read." in missed
    folder.rename(folder.with_name("b"))
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    page, _, _ = report()
    assert "<img" not in page
    assert "The images are not shown: their folder is no longer where it was when the runs were made." in words(page)


def test_compare_reads_and_measures_the_answers_once(run, tmp_path, monkeypatch, capsys):
    run("a", logits=logits_of(1 - np.minimum(TRUTH, 1)))
    run("b", strategy="other", val=0.8)
    measured, read = [], Predictions.read
    *others, error = scores.METRICS
    assert error.name == "calibration_error"
    counted = error._replace(function=lambda *given: measured.append("error") or error.function(*given))
    monkeypatch.setattr(scores, "METRICS", (*others, counted))
    monkeypatch.setattr(Predictions, "read", lambda folder: measured.append(folder.name) or read(folder))
    compare([str(tmp_path / "runs"), f"out={tmp_path / 'out'}", f"report={tmp_path / 'report'}"])
    assert sorted(measured) == ["a", "b", "error", "error"]
    assert (
        "fine_tuning has the best validation accuracy" in capsys.readouterr().out
    )  # advice and page are of the same numbers
    assert "fine_tuning has the best validation accuracy" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
def test_thirty_runs_of_the_flowers_take_seconds_and_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    truth, names = rng.integers(0, 102, 6149), [f"species {k}" for k in range(102)]
    images = [f"jpg/image_{k:05}.jpg" for k in range(len(truth))]
    shades = rng.integers(0, 255, (500, 600, 3), dtype=np.uint8)  # noise: the largest JPEGs there are
    for k in range(30):
        logits = rng.normal(size=(len(truth), 102)).astype(np.float32)
        logits[np.arange(len(truth)), truth] += 3 - k % 10 / 4
        folder = tmp_path / "runs" / f"run{k}"
        write_run(
            folder, f"strategy{k % 10}", k // 10, 0.9 - k % 10 / 50, None, truth, names, logits, 250 + k % 10,
            10.0 + k % 10, 15, tmp_path / "root", images,
        )  # fmt: skip
    groups = group_runs(find_runs([tmp_path / "runs"])[0])[0]
    first = tmp_path / "root" / images[0]
    first.parent.mkdir(parents=True)
    Image.fromarray(shades).save(first, quality=95)
    for image in images[1:]:
        (tmp_path / "root" / image).hardlink_to(first)
    began = time.perf_counter()
    page = write_report(summarize(groups), tmp_path / "report")
    assert time.perf_counter() - began < 20
    assert page.stat().st_size < 15e6
    assert 24 <= len(re.findall("<img ", page.read_text())) <= 60

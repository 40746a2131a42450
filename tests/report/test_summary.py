"""The numbers of a comparison come from records and predictions, and what does not fit together is told or refused."""

import re

import numpy as np
import pytest
from report_pages import planted, rows, section, words

from flowers_tl.results.statistics import mean_interval


def test_the_numbers_are_those_counted_by_hand(run, report):
    planted(run)
    page, _, table = report()
    tuned, frozen = rows(section(page, "table"))
    hits = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1, 1, 0]])
    interval, balanced = mean_interval(hits), mean_interval(hits, np.array([1 / 4] * 4 + [1 / 2] * 2 + [1 / 4] * 4))
    span = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert f"a test accuracy of 85.0 ± 7.1 % (95 % CI {span}, over images)" in words(page)
    assert tuned[:2] == ["fine_tuning", "92.0 ± 1.4 %"]
    assert tuned[2] == f"85.0 ± 7.1 % {span}"
    # (1 + 1/2 + 1) / 3 and (1 + 1/2 + 3/4) / 3
    assert tuned[6] == f"79.2 ± 5.9 % {100 * balanced.low:.1f} to {100 * balanced.high:.1f}"
    assert tuned[7] == "-"  # of three classes all are among the first five
    # F1 of the classes: (8/9 + 2/3 + 1) / 3 and (4/5 + 2/3 + 6/7) / 3
    assert tuned[8] == "81.3 ± 5.5 %"
    # Areas, where equal probabilities count as half: (11/12 + 3/4 + 1) / 3 and (5/6 + 3/4 + 7/8) / 3
    assert tuned[9] == "0.854 ± 0.049"
    # Average precision: (4/5 + 3/5 + 1) / 3 and (2/3 + 3/5 + 17/20) / 3
    assert tuned[10] == "0.753 ± 0.067"
    # All answers are e^3 / (e^3 + 2) = 0.9094 sure.
    assert tuned[11] == "0.059 ± 0.071"
    assert tuned[3:6] == ["250 25 %", "32 ± 3", "0, 1"]
    assert frozen[2].startswith("60.0 %")
    assert frozen[1] == "80.0 %"
    assert frozen[3:6] == ["50 5 %", "4.2", "0"]
    assert frozen[11] == "0.309"
    assert float(table[0]["accuracy_mean"]) == 0.85
    assert float(table[0]["accuracy_low"]) == pytest.approx(interval.low, abs=1e-5)
    assert float(table[0]["accuracy_sd"]) == pytest.approx(0.005**0.5, abs=1e-6)
    assert float(table[1]["calibration_mean"]) == pytest.approx(np.exp(3) / (np.exp(3) + 2) - 0.6, abs=1e-5)


def test_runs_without_answers_stand_in_the_tables_as_recorded(run, report):
    run("a", strategy="old", val=0.95, test=0.77, kept=False)
    run("b", strategy="half", seed=0, val=0.5)
    run("c", strategy="half", seed=1, val=0.5, kept=False)
    run("d", strategy="new", val=0.9)
    run("e", strategy="newer", val=0.8)
    page, markdown, table = report()
    shown = {row[0]: row for row in rows(section(page, "table"))}
    assert [shown["old"][k] for k in (2, 6, 7, 8)] == ["77.0 %", "77.0 %", "-", "-"]
    assert [shown["half"][k] for k in (2, 6)] == ["100.0 ± 0.0 %", "100.0 ± 0.0 %"]
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
    assert "Too few strategies have predictions by image on record. So nothing is tested." in words(
        section(page, "tests")
    )


def test_answers_that_belie_the_record_are_pointed_out(run, report):
    run("a", test=0.4)
    page, _, _ = report()
    assert rows(section(page, "table"))[0][2].startswith("100.0 %")
    assert "in a result.json and predictions.npz give different test accuracies" in words(section(page, "provenance"))


def test_a_diverged_run_is_wrong_and_breaks_nothing(run, report):
    run("a", val=0.1, logits=np.full((10, 3), np.nan, np.float32), test=0.0)
    run("b", strategy="other")
    page, _, table = report()
    assert float(table[1]["accuracy_mean"]) == 0
    assert table[1]["calibration_mean"] == ""
    assert not re.search(r"\bnan\b", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL), re.IGNORECASE)

"""Differences between groups: intervals, McNemar's tests, and Holm's correction of them."""

import re

import numpy as np
import pytest
from report_pages import planted, rows, section, words
from written_runs import TRUTH, logits_of

from flowers_tl.report.paired_tests import holm, span
from flowers_tl.results.statistics import Interval, difference, mcnemar


def mcnemar_table(page):
    return section(page, "tests").split("<summary>McNemar's test of single runs</summary>")[1]


def test_intervals_of_several_rivals_are_simultaneous_and_no_two_statements_disagree(run, report):
    """One of the differences is significant at 95 % on its own, but not among three."""
    truth = np.repeat(np.arange(3), 100)
    hits = {}
    for k, (name, wrong) in enumerate({"best": 20, "near": 37, "same": 24, "far": 90}.items()):
        # Each is wrong elsewhere.
        hits[name] = np.roll(np.arange(300) >= wrong, 70 * k)
        answers = np.where(hits[name], truth, (truth + 1) % 3)
        run(name, strategy=name, val=0.9 - k / 100, logits=logits_of(answers), truth=truth)
    page, markdown, table = report()
    alone, among = (difference(hits["best"], hits["near"], level=level, paired=True) for level in (0.95, 1 - 0.05 / 3))
    assert alone.low > 0 > among.low
    assert float(table[1]["best_minus_this_low"]) == pytest.approx(among.low, abs=1e-5)
    assert float(table[1]["best_minus_this_level"]) == pytest.approx(1 - 0.05 / 3, abs=1e-5)
    tests = words(section(page, "tests"))
    told = f"(difference 5.7 points, simultaneous 95 % CI \u2212{-100 * among.low:.1f} to {100 * among.high:.1f}, over images only)"
    for text in (tests, markdown, words(page.split("<main")[0])):
        assert f"best and near do not differ significantly {told}" in text
    assert "best is better than near" not in words(page) + markdown
    assert (
        "in about 95 of 100 comparisons like this one, all of them contain the true differences (Bonferroni: each is an interval of 98.33 %)"
        in tests
    )
    # Verdict, table and matrix have the same limits, and the same is bold.
    first, matrix = section(page, "tests").split("<h3>All pairs</h3>")
    first = first.split("<details>")[0]
    assert [row[1:3] for row in rows(first)] == [cell.split(" ", 1) for cell in rows(matrix)[0][2:]]
    bold = [re.findall('class="number (significant|undecided)"', text) for text in (first, matrix)]
    assert bold[0] == bold[1][:3] == ["undecided", "undecided", "significant"]


def test_fewer_errors_are_the_part_of_the_other_ones_errors(run, report):
    truth = np.repeat(np.arange(3), 100)
    for name, val, wrong in (("best", 0.9, 30), ("worse", 0.8, 120)):
        answers = np.where(np.arange(300) < wrong, (truth + 1) % 3, truth)
        run(name, strategy=name, val=val, logits=logits_of(answers), truth=truth)
    page, _, table = report()
    assert "best is better than worse by 30.0 points" in words(section(page, "tests"))
    assert "75 % fewer errors." in words(section(page, "tests"))
    assert rows(section(page, "tests"))[0][3] == "75 %"
    assert float(table[1]["best_relative_error_reduction"]) == 0.75


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
    interval = difference(tuned, frozen, paired=True)
    assert interval.low < 0 < interval.high
    assert interval.low != pytest.approx(difference(tuned, frozen).low, abs=1e-3)
    told = f"difference 10.0 points, 95 % CI \u2212{-100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert f"tuned and frozen do not differ significantly ({told})." in words(section(page, "tests"))
    ps = holm([mcnemar(a, b).p for a, b in zip(tuned, frozen, strict=True)])
    cell = rows(mcnemar_table(page))[0][1]
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
    assert rows(mcnemar_table(page))[0][1].startswith("seed 0: 3 against 0")


def test_a_limit_that_is_not_zero_does_not_read_as_zero():
    assert span(Interval(0.03, 0.00004, 0.0611, "images")) == "0.004 to 6.1"
    assert span(Interval(0.0, -0.0004, 0.0, "images")) == "\u22120.04 to 0.0"
    assert span(Interval(0.03, -0.0312, 0.5, "images")) == "\u22123.1 to 50.0"


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
    assert "over images only), 100 % fewer errors." in words(section(page, "tests"))
    assert "Confidence intervals are 95 %, over images." in words(section(page, "table"))
    assert "another seed may give another result" in markdown
    assert table[0]["accuracy_over"] == "images"
    assert table[0]["accuracy_sd"] == ""

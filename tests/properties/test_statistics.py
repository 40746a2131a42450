"""Statistics keep their laws for any predictions: limits, symmetry, no dependence on order or scale."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flowers_tl.report.paired_tests import holm
from flowers_tl.results.conformal import conformal_threshold, measure_coverage
from flowers_tl.results.scores import accuracy, balanced_accuracy, confusion
from flowers_tl.results.statistics import (
    McNemar,
    calibration_error,
    class_weights,
    difference,
    mcnemar,
    mean_interval,
    probabilities,
    reliability_bins,
    top_k,
)

paired_difference = partial(difference, paired=True)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 40))
HITS = SHAPES.flatmap(lambda shape: arrays(bool, shape))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))
PS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@st.composite
def answers(draw, least=1):
    """Logits (images, classes), some of them equal or large, and labels."""
    count, classes = draw(st.integers(least, 40)), draw(st.integers(2, 6))
    logits = draw(arrays(np.float32, (count, classes), elements=st.floats(-100, 100, width=32)))
    return logits, draw(arrays(np.int64, count, elements=st.integers(0, classes - 1)))


@given(HITS)
def test_an_interval_holds_its_value_and_lies_within_0_and_1(hits):
    interval = mean_interval(hits)
    assert interval.value == pytest.approx(hits.mean())
    assert -1e-12 <= interval.low <= interval.value + 1e-12
    assert interval.value - 1e-12 <= interval.high <= 1
    assert interval.high > interval.low


@given(HITS, st.floats(0.5, 0.98), st.randoms())
def test_more_certainty_is_a_wider_interval_and_order_changes_none(hits, level, random):
    narrow, wide = mean_interval(hits, level=level), mean_interval(hits, level=level + 0.01)
    assert wide.low <= narrow.low + 1e-12
    assert narrow.high <= wide.high + 1e-12
    shuffled = hits[:, random.sample(range(hits.shape[1]), hits.shape[1])]
    again = mean_interval(shuffled[::-1], level=level)
    assert (again.low, again.high) == pytest.approx((narrow.low, narrow.high), abs=1e-9)


@given(PAIRS, st.floats(0.01, 100))
def test_a_difference_turns_its_sign_with_its_order(pair, scale):
    a, b = pair
    weights = np.arange(1, a.shape[1] + 1) * scale
    for measure in (paired_difference, difference):
        one, other = measure(a, b, weights), measure(b, a, weights / scale)
        assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)
        assert -1 <= one.low <= one.value + 1e-12
        assert one.value <= one.high + 1e-12


@given(HITS)
def test_equal_runs_do_not_differ(hits):
    interval = paired_difference(hits, hits)
    assert interval.value == 0
    assert interval.low <= 0 <= interval.high
    assert mcnemar(hits[0], hits[0]) == McNemar(0, 0, 1.0)


@given(PAIRS)
def test_mcnemar_does_not_ask_who_is_first(pair):
    one, other = mcnemar(pair[0][0], pair[1][0]), mcnemar(pair[1][0], pair[0][0])
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)
    assert one.p == pytest.approx(other.p)
    assert 0 < one.p <= 1


@given(PS, st.randoms())
def test_holm_only_raises_and_keeps_the_order(ps, random):
    adjusted = holm(ps)
    assert all(p <= new <= 1 for p, new in zip(ps, adjusted, strict=True))
    ranked = [new for _, new in sorted(zip(ps, adjusted, strict=True))]
    assert ranked == sorted(ranked)
    order = random.sample(range(len(ps)), len(ps))
    assert sorted(holm([ps[k] for k in order])) == pytest.approx(sorted(adjusted))


@given(answers())
def test_top_k_grows_to_all(given_answers):
    logits, labels = given_answers
    hits = [top_k(logits, labels, k) for k in range(1, logits.shape[1] + 1)]
    assert all((fewer <= more).all() for fewer, more in pairwise(hits))
    assert hits[-1].all()
    assert (hits[0] == (logits.argmax(1) == labels)).all()


@given(answers())
def test_scores_agree_with_the_confusion_matrix(given_answers):
    logits, labels = given_answers
    table = confusion(logits, labels)
    assert table.sum() == len(labels)
    assert accuracy(logits, labels) == pytest.approx(np.trace(table) / len(labels))
    seen = table.sum(1) > 0
    assert balanced_accuracy(logits, labels) == pytest.approx((np.diag(table)[seen] / table.sum(1)[seen]).mean())
    hits = top_k(logits, labels, 1)
    assert hits @ class_weights(labels) == pytest.approx(balanced_accuracy(logits, labels))
    assert class_weights(labels).sum() == pytest.approx(1)


@given(answers(), st.integers(1, 20))
def test_every_image_is_in_one_bin(given_answers, bins):
    logits, labels = given_answers
    assert probabilities(logits).sum(1) == pytest.approx(1)
    found = reliability_bins(logits, labels, bins)
    assert sum(one.images for one in found) == len(labels)
    assert len(found) <= bins
    assert 0 <= calibration_error(logits, labels, bins) <= 1


@given(answers(least=10), st.floats(0.1, 0.9))
def test_sets_hold_the_true_class_as_often_as_promised_where_they_were_fitted(given_answers, alpha):
    logits, labels = given_answers
    assume((len(labels) + 1) * alpha >= 1)
    coverage = measure_coverage(logits, labels, conformal_threshold(logits, labels, alpha), alpha)
    assert coverage.marginal >= 1 - alpha - 1e-9

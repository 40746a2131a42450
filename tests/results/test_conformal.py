"""Prediction sets hold the true class as often as promised, a temperature makes a network as sure as it is right."""

import numpy as np
import pytest

from flowers_tl.results.conformal import conformal_threshold, fit_temperature, measure_coverage
from flowers_tl.results.scores import cross_entropy
from flowers_tl.utils.errors import UserError


def answers(rng, n, classes=10, frequent=None):
    """Logits whose softmax is the true distribution of the labels."""
    logits = rng.normal(size=(n, classes)) * 2
    if frequent is not None:
        logits[:, frequent] += 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_cover_as_promised_on_average_over_calibration_sets(alpha):
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        val, test = answers(rng, 99), answers(rng, 200)
        held.append(measure_coverage(*test, conformal_threshold(*val, alpha), alpha).marginal)
    error = 4 * np.std(held) / len(held) ** 0.5
    assert 1 - alpha - error <= np.mean(held) <= 1 - alpha + 1 / 100 + error


def test_the_threshold_leaves_as_many_val_images_out_as_the_promise_allows():
    shares = np.linspace(0.01, 0.99, 99)
    logits = np.log(np.stack([shares, 1 - shares], axis=1))
    assert conformal_threshold(logits, np.zeros(99, int), 0.1) == pytest.approx(0.10)  # 9 of 99 lie below it


def test_coverage_by_class_counts_each_class_alike():
    logits = np.log(np.array([[0.9, 0.1]] * 8 + [[0.8, 0.2]] * 2))
    found = measure_coverage(logits, np.array([0] * 8 + [1] * 2), threshold=0.5, alpha=0.1)
    assert (found.marginal, found.by_class, found.size, found.empty) == (0.8, 0.5, 1.0, 0.0)
    assert found.wanted == 0.9


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(alpha):
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        conformal_threshold(np.zeros((5, 2)), np.zeros(5, int), alpha)


def test_too_few_images_for_the_promise_are_refused():
    with pytest.raises(UserError, match="needs 99 val images: use more, or a larger share"):
        conformal_threshold(np.zeros((50, 2)), np.zeros(50, int), 0.01)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_answers_is_found(temperature):
    logits, labels = answers(np.random.default_rng(2), 20_000)
    found = fit_temperature(logits * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    best = cross_entropy(logits * temperature / found, labels)
    for other in (0.9, 1.1):
        assert cross_entropy(logits * temperature / (found * other), labels) > best


@pytest.mark.parametrize("logits", [np.eye(3)[[0, 1, 2]], np.full((3, 3), np.nan)])
def test_answers_that_no_temperature_fits_are_refused(logits):
    with pytest.raises(UserError, match="No temperature"):
        fit_temperature(logits, np.arange(3))

"""Intervals hold the truth as often as they say, and no number in a comparison is other than its definition.

``python tests/results/test_statistics.py 10000`` prints how often they do in so many draws, by seeds and by how far those spread.
"""

import sys
from functools import partial
from math import comb

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from flowers_tl.results.statistics import (
    calibration_error,
    change_without,
    class_weights,
    difference,
    mcnemar,
    mean_interval,
    probabilities,
    reliability_bins,
    top_k,
)

paired_difference = partial(difference, paired=True)
RATIOS, SEEDS = (0.3, 1, 2, 6), (3, 5, 10)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

# The latent score of an answer is a sum of normal effects with these variances, and the answer is right where it is
# above 0. Seeds' effects come on top. All that is not common to two strategies is each one's own.
COMMON, OWN, ANSWER = (
    0.6,
    0.2,
    0.2,
)  # of the image, for both strategies; of the image, for one; of the single answer


def covariance(levels, shared, total):
    """Covariance of two answers of the given mean latent scores, whose scores share a part of their total variance."""
    scores = np.sqrt(shared) * NODES
    right = [ndtr((level + scores) / np.sqrt(total - shared)) for level in levels]
    return right[0] @ (right[1] * WEIGHTS) - np.prod([ndtr(level / np.sqrt(total)) for level in levels])


def seed_variance(ratio, accuracies, paired, images):
    """Variance of the latent seed effects under which seeds spread ``ratio`` times as far as images do.

    Spread is the standard deviation of the accuracy, or of the difference of two: of one seed on endlessly many images,
    and of endlessly many seeds on so many images. ``paired`` is the part of a seed's effect that both strategies share.
    """

    def excess(seed):
        total = COMMON + OWN + ANSWER + seed
        levels = [ndtri(accuracy) * np.sqrt(total) for accuracy in accuracies]

        def spread(alone, both):
            own = sum(covariance((level, level), alone, total) for level in levels)
            return own - 2 * covariance(levels, both, total) if len(levels) == 2 else own

        return spread(seed, paired * seed) - ratio**2 * spread(COMMON + OWN, COMMON) / images

    return brentq(excess, 1e-9, 20)


def draw(generator, seeds, images, accuracies, seed, paired):
    """Right and wrong answers of each strategy, (seeds, images), with ``accuracies`` over all images and seeds."""
    common = generator.normal(size=images) * np.sqrt(COMMON)
    together = generator.normal(size=(seeds, 1)) * np.sqrt(paired * seed)
    for accuracy in accuracies:
        score = ndtri(accuracy) * np.sqrt(COMMON + OWN + ANSWER + seed) + common + together
        score = score + generator.normal(size=images) * np.sqrt(OWN)
        score += generator.normal(size=(seeds, 1)) * np.sqrt((1 - paired) * seed)
        answers = generator.standard_normal(size=(seeds, images), dtype=np.float32)
        yield score + answers * np.sqrt(ANSWER) > 0


def coverage(interval, ratio, seeds, accuracies, paired=0.0, weights=None, images=1000, draws=2000):
    """Share of drawn comparisons whose interval holds the true accuracy, or the true difference."""
    means = [np.average(accuracy, weights=weights) for accuracy in accuracies]
    truth = means[0] - sum(means[1:])
    seed = seed_variance(ratio, means, paired, images)
    generator = np.random.default_rng([2, seeds, int(10 * ratio)])
    drawn = (draw(generator, seeds, images, accuracies, seed, paired) for _ in range(draws))
    found = (interval(*hits, weights=weights) for hits in drawn)
    return np.mean([one.low <= truth <= one.high for one in found])


def joint_coverage(rivals, seeds, ratio, draws=1000, images=1000):
    """Share of drawn comparisons of one strategy with its rivals of which all simultaneous intervals hold the true difference."""
    seed = seed_variance(ratio, (0.85, 0.80), 0.5, images)
    generator = np.random.default_rng([3, rivals, seeds, int(10 * ratio)])
    held = 0
    for _ in range(draws):
        best, *others = draw(generator, seeds, images, (0.85, *[0.80] * rivals), seed, 0.5)
        found = [paired_difference(best, other, level=1 - 0.05 / rivals) for other in others]
        held += all(one.low <= 0.05 <= one.high for one in found)
    return held / draws


# For balanced accuracy forty classes of 5 to 45 images, of which 60 to 99.9 % are right, the large ones no better.
LABELS = np.repeat(np.arange(40), np.linspace(5, 45, 40).round().astype(int))
RECALLS = np.random.default_rng(5).permutation(np.linspace(0.6, 0.999, 40))
KINDS = {
    "mean_interval": (mean_interval, (0.85,)),
    "balanced accuracy": (mean_interval, (RECALLS[LABELS],), 0.0, class_weights(LABELS)),
    "paired_difference": (paired_difference, (0.85, 0.80), 0.5),
    "difference": (difference, (0.85, 0.80)),
}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_of_95_percent_holds_the_truth_95_times_in_100(kind, ratio, seeds):
    interval, *setting = KINDS[kind]
    # The standard error of 2,000 draws is 0.5 %, so with other random numbers one or two of these 48 may lie outside.
    assert coverage(interval, ratio, seeds, *setting) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
def test_the_intervals_of_seven_rivals_hold_together_with_three_seeds():
    """The worst cell of the table in docs/statistics.md; with the weights of a single interval it is 90.7 %."""
    assert joint_coverage(7, 3, 6, draws=400) > 0.92


@pytest.fixture
def hits():
    """Answers of three unlike seeds to sixty images, some of which are hard for all."""
    generator = np.random.default_rng(0)
    return generator.random((3, 60)) < np.array([[1.0], [0.9], [0.7]]) * generator.choice([0.3, 0.8, 1.0], 60)


def variances(values):
    """Of a mean over seeds and images, by the textbook's mean squares: what comes from seeds, and from images."""
    seeds, images = values.shape
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    of_seeds = images * ((rows - mean) ** 2).sum() / (seeds - 1)
    of_images = seeds * ((columns - mean) ** 2).sum() / (images - 1)
    rest = ((values - rows[:, None] - columns + mean) ** 2).sum() / ((seeds - 1) * (images - 1))
    return of_seeds / values.size, (of_images - rest) / values.size


def test_the_variance_is_that_of_the_mean_squares(hits):
    values = hits * 1.0
    nothing = np.zeros_like(values)
    found = paired_difference(hits, nothing)
    seeds, images = variances(values)
    share = seeds**2 / (seeds**2 + seeds * images / 2 + images**2)
    quantile = share * 4.302653 + (1 - share) * 1.959964  # t with two degrees of freedom, and normal
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(quantile * np.sqrt(seeds + images), rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert quantile > 2  # the seeds have a say


def test_seeds_of_both_sides_add_their_spread_and_share_their_freedom():
    # No image differs from another but by the seeds' own slips, so all spread is the seeds'.
    a, b = np.zeros((3, 4000)), np.zeros((3, 4000))
    a[0, :200] = a[1, 200:600] = a[2, 1800:2400] = 1  # 5, 10 and 15 %
    b[0, 600:800] = b[1, 800:1000] = b[2, 1000:1800] = 1  # 5, 5 and 20 %
    found = difference(a, b)
    own = 0.0025 / 3 + 0.0075 / 3  # sample variances of the accuracies, by the number of seeds
    assert found.value == pytest.approx(0)
    # 0.00333² / (0.00083² / 3 + 0.0025² / 3) - 1 = 3.8 degrees of freedom, for which t is 2.8350
    assert found.high - found.value == pytest.approx(2.8350 * np.sqrt(own), rel=1e-3)


def test_limits_are_the_accuracies_that_the_answers_speak_just_against(hits):
    values = hits * 1.0
    seeds, images = variances(values)
    share = seeds**2 / (seeds**2 + seeds * images / 2 + images**2)
    quantile = share * 4.302653 + (1 - share) * 1.959964
    found = mean_interval(hits)
    assert found.value == pytest.approx(values.mean())
    trials = found.value * (1 - found.value) / (seeds + images)
    for limit in (found.low, found.high):
        error = np.sqrt(limit * (1 - limit) / trials)  # were the limit the truth
        assert abs(found.value - limit) == pytest.approx(quantile * error, rel=1e-6)


def test_one_seed_speaks_of_images_and_says_so(hits):
    one = mean_interval(np.arange(263) < 81)
    assert one.over == "images"
    assert (one.low, one.high) == pytest.approx((0.2553, 0.3662), abs=2e-4)  # Newcombe's example, 1998
    assert mean_interval(hits).over == "images and seeds"
    assert paired_difference(hits[:1], hits[1:2]).over == difference(hits[:1], hits[1:]).over == "images"
    assert paired_difference(hits, hits[::-1]).over == difference(hits, hits).over == "images and seeds"


def test_two_seeds_speak_of_these_very_runs_on_new_images_and_never_of_all_that_there_may_be(hits):
    """The mean of two runs is one more answer to each image: nothing is said about a third seed."""
    a, b = hits[:2], hits[1:, ::-1]
    for found in (paired_difference(a, b), difference(a, b), difference(a, hits[:, ::-1])):
        assert found.over == "images"
    one = paired_difference(a.mean(axis=0), b.mean(axis=0))
    for found in (paired_difference(a, b), difference(a, b)):
        assert (found.value, found.low, found.high) == pytest.approx((one.value, one.low, one.high))
    assert mean_interval(a).over == "images"
    far = np.zeros((2, 500))  # accuracies of 0 and 40 %
    far[1, :200] = 1
    found = paired_difference(far, np.zeros_like(far))
    assert found.high - found.low < 0.1


def test_seeds_that_are_copies_of_one_another_tell_no_more_than_one(hits):
    one, many = mean_interval(hits[:1]), mean_interval(hits[[0] * 5])
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_mistake_is_not_certainty(seeds):
    right = np.ones((seeds, 100), dtype=bool)
    found = mean_interval(right)
    assert (found.value, found.high) == pytest.approx((1, 1))
    assert found.low == pytest.approx(100 / (100 + 1.959964**2))
    weights = np.arange(1, 101) / 5050  # by rounding, their mean of ones is not quite one, nor without spread
    assert mean_interval(right, weights).low == pytest.approx(1 / (1 + 1.959964**2 * (weights @ weights)))
    wrong = mean_interval(~right)
    assert (wrong.low, wrong.high) == pytest.approx((0, 1 - found.low))
    for compare in (paired_difference, difference):
        same = compare(right, right)
        assert same.value == 0
        assert same.high == -same.low == pytest.approx(1.959964 * np.sqrt(2) / 100)


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_each_seed_wrong_once_elsewhere_is_not_certainty(seeds):
    once = np.arange(100) != np.arange(seeds)[:, None]
    found = mean_interval(once)
    assert found.low < 0.99 < found.high < 1
    assert found.high - found.low > 0.005


def test_seeds_that_happen_to_agree_tell_no_more_than_images_of_their_own_would():
    slips = np.ones((3, 100))
    slips[0, :10] = slips[1, 10:20] = slips[2, 20:31] = 0  # 90, 90 and 89 %
    found = mean_interval(slips)
    error = np.sqrt(found.low * (1 - found.low) / 300)
    assert found.value - found.low == pytest.approx(4.302653 * error)


def test_intervals_stay_among_shares():
    far = np.ones((3, 20))
    far[0] = 0
    found = mean_interval(far)
    assert 0 < found.low < found.value < found.high < 1
    for number in range(1, 300):  # of which some would make 1 + 2e-16
        right = mean_interval(np.ones((2, number)))
        assert 0 < right.low < right.value <= 1
        assert right.high <= 1
    assert (paired_difference(far, far * 0).high, paired_difference(far * 0, far).low) == (1, -1)


def test_the_order_of_seeds_and_images_does_not_matter(hits):
    weights = class_weights(np.arange(60) % 7 // 2)
    order = np.random.default_rng(1).permutation(60)
    other = hits[:, ::-1]
    for weighted, shuffled in ((None, None), (weights, weights[order])):
        for compare in (paired_difference, difference):
            here, there = compare(hits, other, weighted), compare(hits[::-1, order], other[::-1, order], shuffled)
            assert (here.low, here.high) == pytest.approx((there.low, there.high))
        here, there = mean_interval(hits, weighted), mean_interval(hits[::-1, order], shuffled)
        assert (here.low, here.high) == pytest.approx((there.low, there.high))


def test_a_weight_counts_a_image_so_often(hits):
    times = 1 + np.arange(60) % 3
    repeated = np.repeat(hits, times, axis=1)
    assert mean_interval(hits, times).value == pytest.approx(repeated.mean())
    assert difference(hits[:1], hits[1:], times).value == pytest.approx(repeated[0].mean() - repeated[1:].mean())
    alike, plain = mean_interval(hits, np.full(60, 0.3)), mean_interval(hits)
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high))
    # Weights that differ by next to nothing, so that no two images are of one class.
    unlike = mean_interval(hits, 1 + 1e-9 * np.arange(60))
    assert (unlike.low, unlike.high) == pytest.approx((plain.low, plain.high), rel=1e-2)
    # Half of the images with all of the weight are a sample of half the size.
    half, alone = mean_interval(hits, np.arange(60) < 30), mean_interval(hits[:, :30])
    assert (half.low, half.high) == pytest.approx((alone.low, alone.high))


def test_class_weights_make_balanced_accuracy(hits):
    labels = np.array([3] * 40 + [5] * 15 + [9] * 5)
    recalls = [[seed[labels == label].mean() for label in (3, 5, 9)] for seed in hits]
    weights = class_weights(labels)
    assert weights.sum() == pytest.approx(1)
    assert mean_interval(hits, weights).value == pytest.approx(np.mean(recalls))
    assert mean_interval(hits, weights).value != pytest.approx(hits.mean(), abs=1e-3)


def test_that_classes_are_unlike_is_no_chance():
    labels = np.array([0] * 10 + [1] * 40)
    known = (labels == 0)[None]  # one class is always right, the other never
    missed = known.copy()
    missed[0, 1] = False
    weights = class_weights(labels)
    error = np.sqrt(0.9 * 0.1 / 9) / 2  # of the one recall that varies, in the mean of two
    found = paired_difference(missed, np.zeros_like(missed), weights)
    assert found.high - found.value == pytest.approx(1.959964 * error)


def test_a_difference_turned_round_is_its_negative(hits):
    for found, turned in (
        (paired_difference(hits, hits[:, ::-1]), paired_difference(hits[:, ::-1], hits)),
        (difference(hits, hits[:2, ::-1]), difference(hits[:2, ::-1], hits)),
    ):
        assert (found.value, found.low, found.high) == pytest.approx((-turned.value, -turned.high, -turned.low))


def test_pairs_narrow_the_interval_by_what_they_have_in_common():
    generator = np.random.default_rng(0)
    a, b = draw(generator, 5, 1000, (0.85, 0.80), seed=0.01, paired=0.9)

    def width(interval):
        return interval.high - interval.low

    assert width(paired_difference(a, b)) < 0.8 * width(difference(a, b))
    assert width(difference(a, b)) < 0.95 * width(difference(a, b[:, ::-1]))  # images that have nothing in common


def test_another_level_is_another_quantile(hits):
    def half(a, b, level):
        found = difference(a, b, level=level)
        return found.high - found.value

    ratio = half(hits[:1], hits[1:], 0.8) / half(hits[:1], hits[1:], 0.95)
    assert ratio == pytest.approx(1.281552 / 1.959964)  # of the normal
    far = np.tile([[0.1], [0.5], [0.9]], 2000)  # nothing but seeds
    ratio = half(far, far, 0.8) / half(far, far, 0.95)
    assert ratio == pytest.approx(1.475884 / 2.570582, rel=1e-3)  # of t with 2² / (1/3 + 1/3) - 1 degrees of freedom
    inner, outer = mean_interval(hits, level=0.8), mean_interval(hits, level=0.99)
    assert outer.low < inner.low < inner.value == outer.value < inner.high < outer.high


def test_what_does_not_fit_together_is_refused(hits):
    with pytest.raises(ValueError, match="leave paired out"):
        paired_difference(hits[:1], hits)
    for wrong in (lambda: difference(hits, hits[:, 1:]), lambda: mean_interval(hits, np.ones(3))):
        with pytest.raises(ValueError, match="of the same images"):
            wrong()


def test_mcnemar_is_the_binomial_of_the_images_that_one_alone_has_right():
    a = np.array([True] * 9 + [False] * 1 + [True] * 5 + [False] * 5)
    b = np.array([False] * 9 + [True] * 1 + [True] * 5 + [False] * 5)
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (9, 1)
    assert found.p == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)
    assert mcnemar(b, a).p == found.p
    assert mcnemar(a, a).p == 1


def test_probabilities_are_the_softmax_of_large_logits_too():
    found = probabilities(np.array([[1000.0, 1000.0, -1000.0], [0.0, 1.0, 2.0]], dtype=np.float32))
    assert found.dtype == np.float64
    assert found[0].tolist() == [0.5, 0.5, 0.0]
    assert found[1] == pytest.approx(np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum())


def test_top_k_counts_what_is_ahead_of_the_label():
    logits = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [np.nan] * 3])
    labels = np.array([0, 2, 1, 1, 0])
    assert top_k(logits, labels, 1).tolist() == [True, False, False, False, False]
    assert top_k(logits, labels, 2).tolist() == [True, True, False, True, False]
    assert top_k(logits[:4], labels[:4], 1).tolist() == (logits[:4].argmax(axis=1) == labels[:4]).tolist()


def test_calibration_error_by_hand():
    shares = np.array([0.5, 0.5, 0.9, 0.95, 0.95])
    logits = np.log(np.stack([shares, 1 - shares], axis=1))
    labels = np.array([0, 0, 0, 0, 1])  # the first two are right, and two of the others
    low, high = reliability_bins(logits, labels, bins=2)
    assert low == pytest.approx((0.5, 1, 2))  # 0.5 ends a bin, which takes it in
    assert high == pytest.approx((2.8 / 3, 2 / 3, 3))
    assert calibration_error(logits, labels, bins=2) == pytest.approx(0.4 * 0.5 + 0.6 * 0.8 / 3)
    assert calibration_error(logits, labels, bins=1) == pytest.approx(
        0.8 - 0.76
    )  # too little and too much make up for each other
    assert len(reliability_bins(logits, labels)) == 3


def test_certainty_has_a_bin():
    certain = np.array([[1000.0, 0.0], [1000.0, 0.0]])
    assert reliability_bins(certain, np.array([0, 1])) == [(1.0, 0.5, 2)]
    assert calibration_error(certain, np.array([0, 1])) == 0.5


if __name__ == "__main__":
    print("| interval | seeds |", " | ".join(f"ratio {ratio}" for ratio in RATIOS), "|")
    print("|---" * (2 + len(RATIOS)) + "|")
    for kind, (interval, *setting) in KINDS.items():
        for seeds in SEEDS:
            row = (
                f"{100 * coverage(interval, ratio, seeds, *setting, draws=int(sys.argv[1])):.1f} %" for ratio in RATIOS
            )
            print(f"| {kind} | {seeds} |", " | ".join(row), "|", flush=True)


def test_the_change_without_some_images_spreads_as_in_a_bootstrap_over_them():
    random = np.random.default_rng(0)
    kept = random.random(400) > 0.1
    hits = random.random(400) < np.where(kept, 0.7, 0.95)
    interval = change_without(hits, kept)
    assert interval.value == pytest.approx(hits[kept].mean() - hits.mean())
    again = random.integers(0, 400, (2000, 400))
    changes = [hits[rows][kept[rows]].mean() - hits[rows].mean() for rows in again]
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.std(changes), rel=0.1)
    # Where all answers are right, leaving out some changes nothing, and their share has no part in it.
    same = change_without(np.ones(400), kept)
    assert same.value == 0
    assert same.high < 0.01

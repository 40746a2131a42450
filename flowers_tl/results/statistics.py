"""Statistics of a comparison: confidence intervals over images and seeds, McNemar's test, calibration.

A run with seed s classifies image i rightly or wrongly, ``hits[s, i]``. All runs classify the same images, so neither the
seeds alone nor the images alone are the sample: an interval here says what new seeds would reach, on average, on new
images of the same kind. docs/statistics.md has the reasons, and how often the truth lies inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import binomtest, norm, t

# A variance below it is none: one error in a million predictions makes one of 1e-12.
ROUNDING = 1e-15
# Two seeds have one degree of freedom: an interval over seeds would reach from -100 to 100 points.
FEWEST_SEEDS = 3
# The level of a single interval; higher ones are for several intervals that hold together.
ONE_INTERVAL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate between its limits: a share (0 to 1), or a difference of two shares."""

    value: float
    low: float
    high: float
    # What would be new: "images and seeds", or "images" alone if a strategy has fewer than FEWEST_SEEDS.
    over: str

    def __neg__(self) -> "Interval":
        return Interval(-self.value, -self.high, -self.low, self.over)


@dataclass(frozen=True)
class McNemar:
    """Images that only one of two runs classifies rightly, and how likely so uneven a split is if both are equally good."""

    only_a: int
    only_b: int
    p: float


class Bin(NamedTuple):
    """Images of like confidence: mean confidence, accuracy, number."""

    confidence: float
    accuracy: float
    images: int


def mean_interval(hits: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95) -> Interval:
    """Mean accuracy of ``hits`` (seeds, images) over new images and seeds.

    Wilson's interval (1927), which stays within 0 and 1 and has a width where all hits are right. Its number of trials
    is that of independent ones which would spread as much (the effective sample size of Korn and Graubard, 1998).
    """
    (hits,), weights = _checked([hits], weights)
    # 1 + 2e-16 is no share.
    value = min(1.0, float((hits @ weights).mean()))
    variance, quantile, over = _spread([hits], weights, level)
    # So many images of equal weight would do as well.
    images = 1 / (weights @ weights)
    # Without spread the seeds tell no more than one does; with it no more than as many new images would.
    trials = min(value * (1 - value) / variance, len(hits) * images) if variance > ROUNDING else images
    shrunk = 1 + quantile**2 / trials
    middle = (value + quantile**2 / (2 * trials)) / shrunk
    half = quantile * np.sqrt(value * (1 - value) / trials + quantile**2 / (4 * trials**2)) / shrunk
    return Interval(value, float(max(0, middle - half)), float(min(1, middle + half)), over)


def difference(
    a: ArrayLike, b: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95, paired: bool = False
) -> Interval:
    """Mean accuracy of ``a`` less that of ``b``, both (seeds, images) of the same images.

    ``paired``: row k of both is the same seed. Raises ValueError if they then have not as many seeds.
    """
    (a, b), weights = _checked([a, b], weights)
    if paired and a.shape != b.shape:
        raise ValueError(f"Pairs need the same seeds, but there are {len(a)} and {len(b)}: leave paired out.")
    parts = [a - b] if paired else [a, -b]
    value = float(sum((part @ weights).mean() for part in parts))
    # No less than if the strategies differed in two images, one in favour of each: no difference is not certainty.
    variance, quantile, over = _spread(parts, weights, level, least=2 * (weights @ weights) ** 2)
    half = quantile * np.sqrt(variance)
    return Interval(value, float(max(-1, value - half)), float(min(1, value + half)), over)


def change_without(hits: ArrayLike, kept: ArrayLike, level: float = 0.95) -> Interval:
    """Mean accuracy of ``hits`` (seeds, images) on the images that are ``kept`` (images,), less that on all.

    The mean over the kept ones is a ratio of two means, of which each image has its linear part (Taylor's linearisation,
    Cochran 1977): so which images are kept is as random as the images are.
    """
    hits, kept = np.atleast_2d(np.asarray(hits, dtype=np.float64)), np.asarray(kept, dtype=bool)
    mean = hits[:, kept].mean(axis=1, keepdims=True)
    return difference(mean + kept * (hits - mean) / kept.mean(), hits, level=level, paired=True)


def _checked(parts: Sequence[ArrayLike], weights: ArrayLike | None) -> tuple[list[np.ndarray], np.ndarray]:
    arrays = [np.atleast_2d(np.asarray(part, dtype=np.float64)) for part in parts]
    images = arrays[0].shape[1]
    weights = np.ones(images) if weights is None else np.asarray(weights, dtype=np.float64)
    if any(array.ndim != 2 or array.shape[1] != images for array in arrays) or weights.shape != (images,):
        raise ValueError("Hits must be (seeds, images) and weights (images,), of the same images.")
    return arrays, weights / weights.sum()


def _spread(
    parts: Sequence[np.ndarray], weights: np.ndarray, level: float, least: float = 0.0
) -> tuple[float, float, str]:
    """Variance of the sum of the parts' means, the quantile that goes with it, and what it is over.

    The variance is that of a mean over two crossed random factors, by its expected mean squares (Cornfield and Tukey,
    1956), which need no distribution: s, what the accuracies of the seeds spread, and p, what is common to all seeds
    in what the images spread. s has few degrees of freedom, p hundreds. Between the quantiles of t and of the normal
    Cochran and Cox (1957) weigh by s and p; with few seeds that is too wide, and Satterthwaite's t too narrow. Weights
    of s² and sp/2 + p² come nearest to the level.
    """
    normal = float(norm.ppf((1 + level) / 2))
    deviations = [_deviations(part, weights) for part in parts]
    common = sum(each.mean(axis=0) for each in deviations)
    images = float(common @ common)
    if min(map(len, parts)) < FEWEST_SEEDS:
        return max(least, images), normal, "images"
    noise = sum(each.var(axis=0, ddof=1).sum() / len(each) for each in deviations)
    images = max(least, float(images - noise))
    by_part = np.array([(part @ weights).var(ddof=1) / len(part) for part in parts])
    seeds = float(by_part.sum())
    if seeds < ROUNDING:
        return images, normal, "images and seeds"
    # Degrees of freedom; of one strategy, its seeds less one.
    freedom = seeds**2 / sum(by_part**2 / [len(part) for part in parts]) - 1
    squares = by_part @ by_part
    share = squares / (squares + seeds * images / 2 + images**2)
    if level > ONE_INTERVAL:
        # These weights are made for 95 %. For several intervals at once, with higher levels, they are too small: s and p.
        share = seeds / (seeds + images)
    quantile = share * t.ppf((1 + level) / 2, freedom) + (1 - share) * normal
    return seeds + images, float(quantile), "images and seeds"


def _deviations(part: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each image adds to a seed's accuracy, less what images of its weight add on average.

    Images of one weight are classes of one size. Differences between classes are not random: new images have the same classes.
    """
    _, group, counts = np.unique(weights, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(group, row) for row in part]) / counts
    # An image that is alone with its weight: there is only the mean of all.
    means[:, counts == 1] = (part @ weights)[:, None]
    factor = np.sqrt(counts / np.maximum(1, counts - 1))
    return (part - means[:, group]) * (weights * factor[group])


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """McNemar's exact test of two runs on the same images, both (images,): two-sided, by the binomial."""
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    both = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, both).pvalue) if both else 1.0)


def class_weights(labels: ArrayLike) -> np.ndarray:
    """Weights (images,) under which the mean of hits is balanced accuracy: each class counts as much as any other."""
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[place])


def probabilities(logits: ArrayLike) -> np.ndarray:
    """Softmax of the logits (images, classes)."""
    return softmax(np.asarray(logits, dtype=np.float64), axis=1)


def top_k(logits: ArrayLike, labels: ArrayLike, k: int) -> np.ndarray:
    """Whether the label is among the k largest logits (images,). Of equal ones the first counts as larger, as argmax has it."""
    logits, labels = np.asarray(logits), np.asarray(labels)[:, None]
    of_label = np.take_along_axis(logits, labels, axis=1)
    # Counting what is not ahead leaves a diverged run wrong: no comparison with NaN is true.
    behind = (logits < of_label) | ((logits == of_label) & (np.arange(logits.shape[1]) >= labels))
    return logits.shape[1] - behind.sum(axis=1) < k


def reliability_bins(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> list[Bin]:
    """Top-1 confidence against accuracy in ``bins`` of equal width, without the empty ones."""
    shares = probabilities(logits)
    confidence = shares.max(axis=1)
    hits = top_k(logits, labels, 1)
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    members = [place == k for k in np.unique(place)]
    return [Bin(float(confidence[m].mean()), float(hits[m].mean()), int(m.sum())) for m in members]


def calibration_error(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017): how far confidence is from accuracy, on average over images."""
    confidence, accuracy, images = np.array(reliability_bins(logits, labels, bins)).T
    return float(np.average(np.abs(confidence - accuracy), weights=images))

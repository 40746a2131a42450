"""Probabilities to rely on: a temperature fitted on val, and prediction sets that contain the true class as often as promised."""

import math
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from scipy.optimize import minimize_scalar

from flowers_tl.results.scores import cross_entropy
from flowers_tl.results.statistics import class_weights, probabilities, top_k
from flowers_tl.utils.errors import UserError


@dataclass(frozen=True)
class Coverage:
    """How often prediction sets contain the true class, and how large they are.

    Attributes:
        wanted: share of images whose set is to contain the true class.
        marginal: that share, measured over images.
        by_class: mean over classes of the share within each.
        size: mean number of classes in a set.
        empty: share of sets without any class.
    """

    wanted: float
    marginal: float
    by_class: float
    size: float
    empty: float

    def describe(self) -> str:
        """The promised and the measured coverage, and which of the two measures the promise is about."""
        return fill(
            f"Prediction sets contain the true class for {self.marginal:.1%} of the images, and on average over classes for "
            f"{self.by_class:.1%} of each (promised: {self.wanted:.0%}). They contain {self.size:.2f} classes on average; "
            f"{self.empty:.1%} are empty. The promise holds for images whose classes are as frequent as in val: if they are "
            "equally frequent there, compare it with the average over classes, not with the share of images.",
            100,
        )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number by which logits (images, classes) are divided for the least cross-entropy (Guo et al. 2017).

    It changes no prediction, only its probability: above 1 the network was overconfident.

    Raises:
        UserError: if no temperature is the best: all predictions are right, or the logits are not finite.
    """
    low, high = math.log(0.01), math.log(100)
    # If all are right, the loss falls with the temperature for ever.
    if np.isfinite(logits).all() and not top_k(logits, labels, 1).all():

        def loss(log_temperature: float) -> float:
            return cross_entropy(logits / math.exp(log_temperature), labels)

        best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x
        if low + 0.01 < best < high - 0.01:
            return math.exp(best)
    raise UserError(
        "No temperature between 0.01 and 100 is the best for the val images, since all predictions are right, or all are "
        "random: leave calibrate=true out."
    )


def conformal_threshold(logits: np.ndarray, labels: np.ndarray, alpha: float) -> float:
    """The least probability of a class in a prediction set, so that a share ``alpha`` of the sets misses the true class.

    Split conformal prediction with the score 1 - p(true class) (Sadinle, Lei and Wasserman 2019): for new images that
    are like these, classes as frequent as here, the set contains the true class with a probability of at least 1 - alpha.

    Raises:
        UserError: if alpha is not between 0 and 1, or there are too few images for it.
    """
    validate_alpha(alpha)
    # So many of the true classes may have a lower probability.
    rank = math.floor((len(labels) + 1) * alpha)
    if rank < 1:
        raise UserError(f"conformal={alpha} needs {math.ceil(1 / alpha) - 1} val images: use more, or a larger share.")
    return float(np.sort(probabilities(logits)[np.arange(len(labels)), labels])[rank - 1])


def validate_alpha(alpha: float) -> None:
    """Raise UserError if alpha is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise UserError(
            f"conformal={alpha} must lie between 0 and 1: it is the share of sets that may miss the true class."
        )


def measure_coverage(logits: np.ndarray, labels: np.ndarray, threshold: float, alpha: float) -> Coverage:
    """Measure the sets of all classes whose probability is at least ``threshold``."""
    sets = probabilities(logits) >= threshold
    contained, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
    shares = contained.mean(), contained @ class_weights(labels), sizes.mean(), (sizes == 0).mean()
    return Coverage(1 - alpha, *map(float, shares))

"""Prediction sets: so many classes that the true one is among them as often as promised (conformal prediction)."""

import math
from dataclasses import dataclass
from textwrap import fill

import numpy as np

from flowers_tl.results.statistics import class_weights, probabilities
from flowers_tl.utils.errors import UserError


@dataclass(frozen=True)
class Coverage:
    """How prediction sets did.

    Attributes:
        wanted: share of images whose true class the set is to hold.
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

    def in_words(self) -> str:
        """What was promised and what was found, and which of the two shares the promise is about."""
        return fill(
            f"Prediction sets made by val hold the true class for {self.marginal:.1%} of the images, and on average over "
            f"classes for {self.by_class:.1%} of each ({self.wanted:.0%} were asked for); they hold {self.size:.2f} classes on "
            f"average, and {self.empty:.1%} are empty. The promise is for images whose classes are as frequent as in val. "
            "Where all are equally frequent there, it is the average over classes that is to come near it; the share of "
            "images follows which classes are frequent here.",
            100,
        )


def conformal_threshold(logits: np.ndarray, labels: np.ndarray, alpha: float) -> float:
    """The probability from which on a class belongs to an image's set, so that one in 1/alpha sets misses the true class.

    Split conformal prediction with the score 1 - p(true class) (Sadinle, Lei and Wasserman 2019): for new images that
    are like these, classes as frequent as here, the set holds the true class with a probability of at least 1 - alpha.

    Raises:
        UserError: if alpha is no share, or there are too few images for it.
    """
    validate_alpha(alpha)
    own = np.sort(probabilities(logits)[np.arange(len(labels)), labels])
    rank = math.floor((len(labels) + 1) * alpha)  # so many of the true classes may fall below
    if rank < 1:
        raise UserError(f"conformal={alpha} needs at least {math.ceil(1 / alpha) - 1} val images, not {len(labels)}.")
    return float(own[rank - 1])


def validate_alpha(alpha: float) -> None:
    """Raise UserError if alpha is no share of sets that may miss the true class."""
    if not 0 < alpha < 1:
        raise UserError(
            f"conformal={alpha} must lie between 0 and 1: it is the share of sets that may miss the true class."
        )


def coverage(logits: np.ndarray, labels: np.ndarray, threshold: float, alpha: float) -> Coverage:
    """Measure the sets of all classes that are at least as likely as ``threshold``."""
    sets = probabilities(logits) >= threshold
    held = sets[np.arange(len(labels)), labels]
    sizes = sets.sum(axis=1)
    return Coverage(
        1 - alpha,
        float(held.mean()),
        float(held @ class_weights(labels)),
        float(sizes.mean()),
        float((sizes == 0).mean()),
    )

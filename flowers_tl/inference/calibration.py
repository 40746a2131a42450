"""A temperature, with which a network is as sure of its answers as it is right."""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from flowers_tl.results.scores import cross_entropy
from flowers_tl.results.statistics import top_k
from flowers_tl.utils.errors import UserError


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number by which logits (images, classes) are divided for the least cross-entropy (Guo et al. 2017).

    It changes no answer, only how sure they are: above 1 the network was too sure.

    Raises:
        UserError: if none is the best: all answers are right, or they are no numbers.
    """
    low, high = math.log(0.01), math.log(100)
    if np.isfinite(logits).all() and not top_k(logits, labels, 1).all():  # where all are right, the surer the better
        found = minimize_scalar(
            lambda t: cross_entropy(logits / math.exp(t), labels), bounds=(low, high), method="bounded",
            options={"xatol": 1e-6},
        )  # fmt: skip
        if low + 0.01 < found.x < high - 0.01:
            return math.exp(found.x)
    raise UserError(
        "No temperature between 0.01 and 100 fits the val answers best: they are all right, or made by chance, so leave it out."
    )

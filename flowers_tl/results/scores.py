"""How well a split was answered: the numbers, class by class too, from logits and labels alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

from flowers_tl.results.statistics import calibration_error, class_weights, top_k


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores of logits (images, classes) against labels (images,).

    Returns:
        ``images`` and how many are ``right``; ``accuracy``, ``balanced_accuracy`` (mean over the classes that occur) and
        ``top5`` as shares; ``loss``, the mean cross-entropy in nats; ``calibration_error`` (15 bins).
    """
    hits = top_k(logits, labels, 1)
    return {
        "pictures": len(labels),
        "right": int(hits.sum()),
        "accuracy": float(hits.mean()),
        "balanced_accuracy": float(hits @ class_weights(labels)),
        "top5": float(top_k(logits, labels, 5).mean()),
        "loss": cross_entropy(logits, labels),
        "calibration_error": calibration_error(logits, labels),
    }


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood of the labels (images,) under logits (images, classes), in nats."""
    shares = log_softmax(logits.astype(np.float64), axis=1)
    return -float(shares[np.arange(len(labels)), labels].mean())


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of images by true class (rows) and answered class (columns), int64 (classes, classes).

    A class that the logits (images, classes) lack has a row and a column too if a label (images,) is of it.
    """
    classes = max(logits.shape[1], int(labels.max(initial=0)) + 1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, logits.argmax(axis=1)), 1)
    return counts


def worst_mistakes(shares: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of the images that are answered wrongly, the most confident answer first.

    Args:
        shares: probabilities (images, classes). An image with NaN among them has no answer, so no wrong one either.
        labels: of the true classes (images,).
        most: how many indices, at most.
    """
    confidence = shares.max(axis=1)
    wrong = np.flatnonzero((shares.argmax(axis=1) != labels) & np.isfinite(confidence))
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


def by_class(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each class that occurs, the least well recognised first.

    Args:
        counts: :func:`confusion`.
        names: of the classes.

    Returns:
        ``class``, ``images``, ``recall``, ``precision`` (None where it was never answered), and the class that it was
        ``taken_for`` most often, with how many ``times`` (None where it never was).
    """
    rows = []
    for k in np.flatnonzero(counts.sum(axis=1)):
        wrong = counts[k].copy()
        wrong[k] = 0
        answered, images, worst = int(counts[:, k].sum()), int(counts[k].sum()), int(wrong.argmax())
        rows.append(
            {
                "class": names[k],
                "pictures": images,
                "recall": counts[k, k] / images,
                "precision": counts[k, k] / answered if answered else None,
                "taken_for": names[worst] if wrong[worst] else None,
                "times": int(wrong[worst]) or None,
            }
        )
    return sorted(rows, key=lambda row: row["recall"])

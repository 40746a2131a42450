"""How well a split was classified, from logits and labels alone: the metrics, and the counts of each class.

A new metric is one row of METRICS. `evaluate` and the report loop over them. What a run measures while it trains is in
:data:`flowers_tl.models.metrics.EPOCH_METRICS`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax

from flowers_tl.results.statistics import calibration_error, class_weights, top_k


class Metric(NamedTuple):
    """One number for logits (images, classes) and labels (images,).

    Attributes:
        name: its key in files.
        function: takes logits and labels.
        title: its name in tables.
        hint: its definition, for a reader of the table.
        format: of the number in tables, a format specification of Python.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray], float]
    title: str
    hint: str
    format: str


def compute_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute all metrics of logits (images, classes) against labels (images,), by name.

    ``pictures`` is the number of images, ``right`` the number of correct predictions.
    """
    counts = {"pictures": len(labels), "right": int(top_k(logits, labels, 1).sum())}
    return counts | {metric.name: float(metric.function(logits, labels)) for metric in METRICS}


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood of the labels (images,) under logits (images, classes), in nats."""
    shares = log_softmax(logits.astype(np.float64), axis=1)
    return -float(shares[np.arange(len(labels)), labels].mean())


def accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Share of the images (images,) whose label is among the first ``k`` predictions."""
    return top_k(logits, labels, k).mean()


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the accuracy within each."""
    return top_k(logits, labels, 1) @ class_weights(labels)


METRICS = (
    Metric("accuracy", accuracy, "accuracy", "share of the images that are classified correctly", ".2%"),
    Metric("balanced_accuracy", balanced_accuracy, "balanced accuracy", "mean of the recalls of all classes", ".2%"),
    Metric("top5", partial(accuracy, k=5), "top-5 accuracy", "the right class is among the first five", ".2%"),
    Metric("loss", cross_entropy, "loss", "mean cross-entropy in nats", ".4f"),
    Metric(
        "calibration_error",
        calibration_error,
        "calibration error",
        "expected calibration error, 15 bins: how far confidence is from accuracy",
        ".4f",
    ),
)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of images by true class (rows) and predicted class (columns), int64 (classes, classes).

    A class that the logits (images, classes) lack has a row and a column too if a label (images,) is of it.
    """
    classes = max(logits.shape[1], int(labels.max(initial=0)) + 1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, logits.argmax(axis=1)), 1)
    return counts


def worst_mistakes(shares: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of the images that are classified wrongly, the most confident prediction first.

    Args:
        shares: probabilities (images, classes). An image with NaN among them has no prediction, so no wrong one either.
        labels: of the true classes (images,).
        most: how many indices, at most.
    """
    confidence = shares.max(axis=1)
    wrong = np.flatnonzero((shares.argmax(axis=1) != labels) & np.isfinite(confidence))
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


def count_by_class(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each class that occurs, the lowest recall first.

    Args:
        counts: :func:`confusion`.
        names: of the classes.

    Returns:
        ``class``, ``pictures`` (number of images), ``recall``, ``precision`` (None if the class was never predicted), the
        class that it was ``taken_for`` most often, and how many ``times`` (None if never).
    """
    wrong = counts - np.diag(counts.diagonal())
    rows = []
    for k in np.flatnonzero(counts.sum(axis=1)).tolist():
        right, images, predicted = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        worst = int(wrong[k].argmax())
        rows.append(
            {
                "class": names[k],
                "pictures": images,
                "recall": right / images,
                "precision": right / predicted if predicted else None,
                "taken_for": names[worst] if wrong[k, worst] else None,
                "times": int(wrong[k, worst]) or None,
            }
        )
    return sorted(rows, key=lambda row: row["recall"])

"""How well a split was classified, from logits and labels alone: the metrics, and the counts of each class.

A new metric is one row of METRICS. `evaluate` and the report loop over them, and ``monitor=val/NAME`` selects by any of them. What
a run measures while it trains is in :data:`flowers_tl.models.metrics.EPOCH_METRICS`, and the metric that it monitors.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata

from flowers_tl.results.statistics import calibration_error, class_weights, top_k
from flowers_tl.utils.errors import UserError, suggest


class Metric(NamedTuple):
    """One number for logits (images, classes) and labels (images,).

    Attributes:
        name: its key in files.
        function: takes logits and labels.
        title: its name in tables.
        hint: its definition, for a reader of the table.
        format: of the number in tables, a format specification of Python.
        sign: 1 where higher is better, -1 where lower is.
    """

    name: str
    function: Callable[[np.ndarray, np.ndarray], float]
    title: str
    hint: str
    format: str
    sign: int = 1

    @property
    def worse(self) -> str:
        """The word for a value that is not as good."""
        return "lower" if self.sign > 0 else "higher"

    def short(self, value: float) -> str:
        """The number in a line of text: a share in percent with one digit."""
        return f"{value:{self.format.replace('2', '1')}}"


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


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur among labels or predictions of F1, as scikit-learn's ``f1_score`` has it."""
    counts = confusion(logits, labels)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    return float((2 * counts.diagonal()[both > 0] / both[both > 0]).mean())


def rounded_log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (images, classes) by which images are ranked: equal ones are equal, whatever the order of the classes.

    A sum in another order has another last digit; float32 logits have seven.
    """
    return log_softmax(logits.astype(np.float64), axis=1).round(9)


def auroc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the area under the ROC curve of one class against the rest; NaN for one class.

    By ranks of the probabilities, equal ones counted half (Mann and Whitney, 1947), as scikit-learn's ``roc_auc_score``.
    """
    classes, place, positive = np.unique(labels, return_inverse=True, return_counts=True)
    ranks = rankdata(rounded_log_probabilities(logits)[:, classes], axis=0)
    sums = np.bincount(place, ranks[np.arange(len(labels)), place])
    negative = len(labels) - positive
    with np.errstate(invalid="ignore"):
        return float(((sums - positive * (positive + 1) / 2) / (positive * negative)).mean())


def average_precision(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the mean precision at the probability of each image of the class, as scikit-learn's
    ``average_precision_score``."""
    shares, values = rounded_log_probabilities(logits), []
    for label in np.unique(labels):
        positive = labels == label
        above = rankdata(-shares[:, label], method="max")[positive]
        values.append((rankdata(-shares[positive, label], method="max") / above).mean())
    return float(np.mean(values))


METRICS = (
    Metric("accuracy", accuracy, "accuracy", "share of the images that are classified correctly", ".2%"),
    Metric("balanced_accuracy", balanced_accuracy, "balanced accuracy", "mean of the recalls of all classes", ".2%"),
    Metric("top5", partial(accuracy, k=5), "top-5 accuracy", "the right class is among the first five", ".2%"),
    Metric("macro_f1", macro_f1, "macro F1", "mean of the F1 scores of all classes", ".2%"),
    Metric("auroc", auroc, "AUROC", "mean area under the ROC curves, each class against the rest", ".4f"),
    Metric(
        "average_precision",
        average_precision,
        "average precision",
        "mean over the classes of the precision at each image of the class",
        ".4f",
    ),
    Metric("loss", cross_entropy, "loss", "mean cross-entropy in nats", ".4f", -1),
    Metric(
        "calibration_error",
        calibration_error,
        "calibration error",
        "expected calibration error, 15 bins: how far confidence is from accuracy",
        ".4f",
        -1,
    ),
)


def read_monitor(monitor: str) -> Metric:
    """The metric that ``monitor`` names, as ``val/NAME``. Raises UserError where there is none."""
    known = {f"val/{metric.name}": metric for metric in METRICS}
    if monitor not in known:
        raise UserError(f"monitor={monitor} is unknown: {suggest(str(monitor), known)}.")
    return known[monitor]


def format_values(values: np.ndarray, metric: Metric) -> str:
    """:func:`mean_and_spread` of a metric, in percent where that is its format."""
    return percent(values) if metric.format.endswith("%") else mean_and_spread(values, 3)


def percent(shares: np.ndarray) -> str:
    """:func:`mean_and_spread` in percent."""
    text = mean_and_spread(100 * shares, 1)
    return text if text == "-" else f"{text} %"


def mean_and_spread(values: np.ndarray, digits: int) -> str:
    """``mean ± standard deviation`` (of the sample, n - 1), the one value, or a dash if one was not measured."""
    if np.isnan(values).any():
        return "-"
    text = f"{values.mean():,.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {values.std(ddof=1):,.{digits}f}"


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of images by true class (rows) and predicted class (columns), int64 (classes, classes).

    A class that the logits (images, classes) lack has a row and a column too if a label (images,) is of it.
    """
    classes = max(logits.shape[1], int(labels.max(initial=0)) + 1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, logits.argmax(axis=1)), 1)
    return counts


def most_confused(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """True and predicted class of the largest counts of wrong predictions, the largest first; ``counts`` are :func:`confusion`."""
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(most, np.count_nonzero(wrong))]
    return [divmod(place, len(counts)) for place in order.tolist()]


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


def report_by_class(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
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

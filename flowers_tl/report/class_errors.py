"""Errors by class: accuracy of each class, classes that are confused with each other, and the worst mistakes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flowers_tl.report.summary import ComparisonSummary, StrategySummary, TestPredictions
from flowers_tl.results import scores

# At most 40 images of a few kilobytes each.
PAIRS, MISTAKES, EXTREMES = 8, 24, 6


class ClassRow(NamedTuple):
    """A class, its number of test images, and the accuracies of two groups on it."""

    name: str
    images: int
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.first - self.second


class ConfusedClass(NamedTuple):
    """One class of a confused pair: how many of its images are predicted as the other class, mean over seeds."""

    name: str
    other: str
    confused: str
    images: int
    # The image of the class that is predicted with the highest confidence, None where the class has none.
    example: str | None


@dataclass(frozen=True)
class Mistake:
    """An image that the mean over the seeds classifies wrongly, and the confidence of that mean."""

    image: str
    true: str
    predicted: str
    confidence: float
    seeds_wrong: int


def class_accuracy(predictions: TestPredictions, labels: np.ndarray) -> np.ndarray:
    """Share of the images of each class that are classified correctly, mean over seeds; NaN for one without images."""
    counts = np.bincount(labels)
    correct = np.bincount(labels, predictions.correct.mean(axis=0))
    return np.where(counts > 0, correct / np.maximum(1, counts), np.nan)


def class_data(summary: ComparisonSummary) -> dict[str, Any]:
    """Names, images and accuracies by group of the classes that have test images, for the page's script too."""
    labels = summary.test.labels
    counts = np.bincount(labels)
    present = np.flatnonzero(counts).tolist()
    return {
        "labels": {str(s.number): s.label for s in summary.with_predictions},
        "names": [summary.class_name(k) for k in present],
        "counts": counts[present].tolist(),
        "accuracies": {
            str(s.number): np.round(class_accuracy(s.predictions, labels)[present], 5).tolist()
            for s in summary.with_predictions
        },
        "extremes": EXTREMES,
    }


def class_rows(data: dict[str, Any], first: StrategySummary, second: StrategySummary) -> list[ClassRow]:
    """The classes of :func:`class_data`, the largest gain of the first group over the second first."""
    accuracies = (data["accuracies"][str(strategy.number)] for strategy in (first, second))
    rows = map(ClassRow, data["names"], data["counts"], *accuracies)
    return sorted(rows, key=lambda row: -row.difference)


def most_confused(summary: ComparisonSummary, strategy: StrategySummary) -> list[tuple[ConfusedClass, ConfusedClass]]:
    """The pairs of classes with the most mistakes between them, the class with more of them first."""
    labels = summary.test.labels
    counts = np.mean([scores.confusion(logits, labels) for logits in strategy.predictions.logits], axis=0)
    both = np.triu(counts + counts.T, k=1)
    pairs = []
    for place in np.argsort(-both, axis=None, kind="stable")[:PAIRS]:
        first, second = map(int, np.unravel_index(place, both.shape))
        if both[first, second] == 0:
            break
        if counts[first, second] < counts[second, first]:
            first, second = second, first
        pairs.append(
            (
                confused_class(summary, strategy, counts, first, second),
                confused_class(summary, strategy, counts, second, first),
            )
        )
    return pairs


def confused_class(
    summary: ComparisonSummary, strategy: StrategySummary, counts: np.ndarray, label: int, other: int
) -> ConfusedClass:
    count = f"{counts[label, other]:.1f}".removesuffix(".0")
    images = np.flatnonzero(summary.test.labels == label)
    example = None
    if len(images):
        # A diverged run has NaN for probabilities.
        confidence = np.nan_to_num(strategy.predictions.probabilities[images, label])
        example = summary.test.images[images[np.argmax(confidence)]]
    return ConfusedClass(summary.class_name(label), summary.class_name(other), count, len(images), example)


def worst_mistakes(summary: ComparisonSummary, strategy: StrategySummary) -> list[Mistake]:
    """Images with the highest mean probability of a wrong class."""
    labels, shares = summary.test.labels, strategy.predictions.probabilities
    return [
        Mistake(
            summary.test.images[k],
            summary.class_name(labels[k]),
            summary.class_name(shares[k].argmax()),
            float(shares[k].max()),
            int((~strategy.predictions.correct[:, k]).sum()),
        )
        for k in scores.worst_mistakes(shares, labels, MISTAKES)
    ]

"""Errors by class: accuracy of each class, classes that are confused with each other, and the worst mistakes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flowers_tl.report.summary import ComparisonSummary, StrategySummary, TestPredictions
from flowers_tl.results import scores
from flowers_tl.results.statistics import probabilities

# At most 40 images of a few kilobytes each.
PAIRS, MISTAKES, EXTREMES, ROWS = 8, 24, 6, 200


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
    """An image that a run classifies wrongly: with which confidence, in the run of the seed that is surest of it."""

    image: str
    true: str
    predicted: str
    confidence: float
    seed: int
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


def mean_confusion(summary: ComparisonSummary, strategy: StrategySummary) -> np.ndarray:
    """Number of test images by true and predicted class (classes, classes), mean over seeds."""
    return np.mean([scores.confusion(logits, summary.test.labels) for logits in strategy.predictions.logits], axis=0)


def confusion_rows(summary: ComparisonSummary, counts: np.ndarray) -> list[tuple[str, str, float, int, float]]:
    """True class, predicted class, its images, all images of the true class, and their share; the most images first."""
    wrong, images = counts - np.diag(counts.diagonal()), counts.sum(axis=1)
    places = np.argsort(-wrong, axis=None, kind="stable")[: min(ROWS, np.count_nonzero(wrong))]
    pairs = zip(*np.unravel_index(places, wrong.shape), strict=True)
    return [
        (
            summary.class_name(i),
            summary.class_name(j),
            float(wrong[i, j]),
            int(images[i]),
            float(wrong[i, j] / images[i]),
        )
        for i, j in pairs
    ]


def most_confused(
    summary: ComparisonSummary, strategy: StrategySummary, counts: np.ndarray
) -> list[tuple[ConfusedClass, ConfusedClass]]:
    """The pairs of classes with the most mistakes between them, the class with more of them first."""
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
    """Images for which a single run gives a wrong class the highest probability; each image once."""
    labels = summary.test.labels
    worst: dict[int, tuple[float, int, int]] = {}
    for seed, logits in zip(strategy.seeds, strategy.predictions.logits, strict=True):
        # A diverged run has no probabilities, so no mistakes either.
        with np.errstate(invalid="ignore"):
            shares = probabilities(logits)
        for k in scores.worst_mistakes(shares, labels, MISTAKES).tolist():
            if shares[k].max() > worst.get(k, (0.0,))[0]:
                worst[k] = (float(shares[k].max()), seed, int(shares[k].argmax()))
    return [
        Mistake(
            summary.test.images[k],
            summary.class_name(labels[k]),
            summary.class_name(predicted),
            confidence,
            seed,
            int((~strategy.predictions.correct[:, k]).sum()),
        )
        for k, (confidence, seed, predicted) in sorted(worst.items(), key=lambda item: -item[1][0])[:MISTAKES]
    ]

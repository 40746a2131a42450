"""Errors by class: accuracy of each class, classes that are confused with each other, and the worst mistakes."""

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


class Confusion(NamedTuple):
    """How many of a class's ``images`` are predicted as another class, mean over seeds."""

    true: str
    predicted: str
    confused: float
    images: int
    # The image of the class that is predicted with the highest confidence, None where the class has none.
    example: str | None


class Mistake(NamedTuple):
    """An image that a run classifies wrongly: with which confidence, in the run of the seed that is surest of it."""

    image: str
    true: str
    predicted: str
    confidence: float
    seed: int
    seeds_wrong: int


def class_accuracy(predictions: TestPredictions) -> np.ndarray:
    """Share of the images of each class that are classified correctly, mean over seeds; NaN for one without images."""
    counts = np.bincount(predictions.labels)
    correct = np.bincount(predictions.labels, predictions.correct.mean(axis=0))
    return np.where(counts > 0, correct / np.maximum(1, counts), np.nan)


def class_data(summary: ComparisonSummary) -> dict[str, Any]:
    """Names, images and accuracies by group of the classes that have test images, for the page's script too."""
    counts = np.bincount(summary.test.labels)
    present = np.flatnonzero(counts).tolist()
    return {
        "labels": {str(s.number): s.label for s in summary.with_predictions},
        "names": [summary.class_name(k) for k in present],
        "counts": counts[present].tolist(),
        "accuracies": {
            str(s.number): np.round(class_accuracy(s.predictions)[present], 5).tolist()
            for s in summary.with_predictions
        },
        "extremes": EXTREMES,
    }


def class_rows(data: dict[str, Any], first: StrategySummary, second: StrategySummary) -> list[ClassRow]:
    """The classes of :func:`class_data`, the largest gain of the first group over the second first."""
    accuracies = (data["accuracies"][str(strategy.number)] for strategy in (first, second))
    rows = map(ClassRow, data["names"], data["counts"], *accuracies)
    return sorted(rows, key=lambda row: -row.difference)


def confusions(summary: ComparisonSummary, strategy: StrategySummary) -> list[Confusion]:
    """Pairs of true and predicted class, those with the most images first."""
    places = scores.most_confused(strategy.predictions.confusion, ROWS)
    return [describe_confusion(summary, strategy, *place) for place in places]


def confused_pairs(summary: ComparisonSummary, strategy: StrategySummary) -> list[list[Confusion]]:
    """The pairs of classes with the most mistakes between them, both ways, first that with more of them."""
    counts = strategy.predictions.confusion
    places = scores.most_confused(np.triu(counts + counts.T, k=1), PAIRS)
    pairs = [[describe_confusion(summary, strategy, *place) for place in ((i, j), (j, i))] for i, j in places]
    return [sorted(pair, key=lambda side: -side.confused) for pair in pairs]


def describe_confusion(summary: ComparisonSummary, strategy: StrategySummary, true: int, predicted: int) -> Confusion:
    images = np.flatnonzero(summary.test.labels == true)
    example = None
    if len(images):
        # A diverged run has NaN for probabilities.
        confidence = np.nan_to_num(strategy.predictions.probabilities[images, true])
        example = summary.test.images[images[np.argmax(confidence)]]
    confused = float(strategy.predictions.confusion[true, predicted])
    return Confusion(summary.class_name(true), summary.class_name(predicted), confused, len(images), example)


def worst_mistakes(summary: ComparisonSummary, strategy: StrategySummary) -> list[Mistake]:
    """Images for which a single run gives a wrong class the highest probability; each image once.

    Of equally confident mistakes those that more seeds make come first.
    """
    labels, correct = summary.test.labels, strategy.predictions.correct
    mistakes = []
    for seed, logits in zip(strategy.seeds, strategy.predictions.logits, strict=True):
        # A diverged run has no probabilities, so no mistakes either.
        with np.errstate(invalid="ignore"):
            shares = probabilities(logits)
        for k in scores.worst_mistakes(shares, labels, MISTAKES):
            true, predicted = summary.class_name(labels[k]), summary.class_name(shares[k].argmax())
            wrong = int((~correct[:, k]).sum())
            mistakes.append(Mistake(summary.test.images[k], true, predicted, float(shares[k].max()), seed, wrong))
    surest: dict[str, Mistake] = {}
    for mistake in sorted(mistakes, key=lambda mistake: (-mistake.confidence, -mistake.seeds_wrong)):
        surest.setdefault(mistake.image, mistake)
    return [*surest.values()][:MISTAKES]

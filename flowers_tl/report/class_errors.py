"""Where the answers go wrong: accuracy by species, species taken for one another, and the worst mistakes."""

from dataclasses import dataclass

import numpy as np

from flowers_tl.report.summary import TestAnswers
from flowers_tl.results import scores


@dataclass(frozen=True)
class Confused:
    """Two species, how many test images of the first are taken for the second and the other way: means over seeds."""

    first: int
    second: int
    there: float
    back: float


@dataclass(frozen=True)
class Mistake:
    """An image that is named wrongly by the mean over the seeds, and how sure of it that mean is."""

    image: int
    label: int
    answer: int
    confidence: float
    seeds_wrong: int


def support(labels: np.ndarray, classes: int) -> np.ndarray:
    """Test images of each class."""
    return np.bincount(labels, minlength=classes)


def class_accuracy(answers: TestAnswers, labels: np.ndarray, classes: int) -> np.ndarray:
    """Share of each class's images that are named rightly, mean over seeds; NaN for a class without images."""
    counts = support(labels, classes)
    rightly = np.bincount(labels, answers.hits.mean(axis=0), minlength=classes)
    return np.where(counts > 0, rightly / np.maximum(1, counts), np.nan)


def confusions(answers: TestAnswers, labels: np.ndarray) -> np.ndarray:
    """How often class i is taken for class j, (classes, classes), mean over seeds."""
    return np.mean([scores.confusion(logits, labels) for logits in answers.logits], axis=0)


def most_confused(answers: TestAnswers, labels: np.ndarray, most: int) -> list[Confused]:
    """The pairs of species with the most mistakes between them."""
    counts = confusions(answers, labels)
    both = np.triu(counts + counts.T, k=1)
    found = []
    for place in np.argsort(-both, axis=None, kind="stable")[:most]:
        first, second = map(int, np.unravel_index(place, both.shape))
        if both[first, second] == 0:
            break
        if counts[first, second] < counts[second, first]:
            first, second = second, first
        found.append(Confused(first, second, float(counts[first, second]), float(counts[second, first])))
    return found


def worst_mistakes(answers: TestAnswers, labels: np.ndarray, most: int) -> list[Mistake]:
    """Images with the highest mean probability of a wrong class."""
    shares = answers.probabilities
    answer, confidence, missed = shares.argmax(axis=1), shares.max(axis=1), (~answers.hits).sum(axis=0)
    return [
        Mistake(*map(int, (k, labels[k], answer[k])), float(confidence[k]), int(missed[k]))
        for k in scores.worst_mistakes(shares, labels, most)
    ]


def typical(answers: TestAnswers, labels: np.ndarray, label: int) -> list[int]:
    """The images of a species, those that are named rightly with the highest confidence first."""
    own = np.flatnonzero(labels == label)
    shares = answers.probabilities[own]
    known = label < shares.shape[1]
    confidence = np.nan_to_num(shares[:, label]) if known else np.zeros(len(own))
    return own[np.argsort(-confidence, kind="stable")].tolist()

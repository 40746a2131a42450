"""What the report says of each group in numbers, computed once for the page, the CSV and the Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flowers_tl.report.records import Shared, answers_of, recorded, without_folders
from flowers_tl.results.load_runs import RunGroup
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.results.statistics import (
    Interval,
    calibration_error,
    class_weights,
    mean_interval,
    probabilities,
    top_k,
)
from flowers_tl.utils.errors import shorten

TOP = 5


@dataclass(frozen=True)
class Measure:
    """One number a run, and an interval where the answers by image were kept."""

    values: np.ndarray
    interval: Interval | None = None

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the sample; NaN for one run, which has none."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class TestAnswers:
    """What a group's runs answered to the test images: logits (seeds, images, classes), hits (seeds, images)."""

    logits: np.ndarray
    hits: np.ndarray

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Mean over the seeds, (images, classes)."""
        with np.errstate(invalid="ignore"):  # a diverged run has no probabilities
            return np.mean([probabilities(logits) for logits in self.logits], axis=0)


@dataclass(frozen=True, eq=False)
class Entry:
    """A group and its numbers. ``number`` is its place among the groups as they came, from which its colour follows."""

    group: RunGroup
    number: int
    answers: TestAnswers | None
    accuracy: Measure
    balanced: Measure
    top5: Measure
    calibration: Measure
    val: Measure
    seconds: Measure
    epochs: Measure
    trainable: int
    total: int
    train_images: int | None

    @property
    def label(self) -> str:
        return self.group.label

    @property
    def seeds(self) -> list[int]:
        return [run.result["seed"] for run in self.group.runs]


@dataclass(frozen=True, eq=False)
class Facts:
    """All groups, the best by val accuracy first, and the test images that they share."""

    entries: list[Entry]
    class_names: list[str]
    test: SplitPredictions | None  # labels and images; the logits are those of some run
    notes: list[str]

    @property
    def chosen(self) -> Entry | None:
        """The best by val accuracy; None where no group was measured on val. The test has no part in it."""
        return self.entries[0] if np.isfinite(self.entries[0].val.mean) else None

    @property
    def answered(self) -> list[Entry]:
        """The groups whose answers by image were kept."""
        return [entry for entry in self.entries if entry.answers is not None]

    def name(self, label: int) -> str:
        """What a class is called; a network may have more outputs than the data has names."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"


def measure(groups: Sequence[RunGroup], notes: Iterable[str] = ()) -> Facts:
    """Read the answers of all groups and count what the report says.

    Raises:
        UserError: if the runs were not tested, or not validated, on the same images.
    """
    notes, entries, shared, lacking = list(notes), [], Shared(), []
    for number, group in enumerate(groups):
        found = [(run, answers_of(run, notes)) for run in group.runs]
        for run, predictions in found:
            shared.check(run, predictions)
        kept = [p.splits["test"] for _, p in found if p is not None and "test" in p.splits]
        if missing := len(found) - len(kept):
            lacking.append(group.label + (f" ({missing} of {len(found)} runs)" if kept else ""))
            kept = []
        entries.append(describe(group, number, kept))
        notes += disagreements(entries[-1])
    if lacking:
        notes.append(f"No answers to the test images on record, so no interval and no test: {', '.join(lacking)}.")
    entries.sort(key=by_val)
    runs = [run for group in groups for run in group.runs]
    return Facts(entries, shared.class_names, shared.splits.get("test"), [without_folders(n, runs) for n in notes])


def describe(group: RunGroup, number: int, kept: Sequence[SplitPredictions]) -> Entry:
    """Count one group's numbers: from its answers if they were ``kept``, else as its records say."""
    first = group.runs[0].result
    measures = {
        "accuracy": Measure(recorded(group.runs, "test", "accuracy")),
        "balanced": Measure(recorded(group.runs, "test", "balanced_accuracy")),
        "top5": Measure(np.full(len(group.runs), np.nan)),
        "calibration": Measure(np.full(len(group.runs), np.nan)),
    }
    answers = None
    if kept:
        labels = kept[0].labels
        answers = TestAnswers(
            np.stack([split.logits for split in kept]), np.stack([top_k(s.logits, labels, 1) for s in kept])
        )
        measures |= measured(answers, labels)
    return Entry(
        group,
        number,
        answers,
        **measures,
        val=Measure(recorded(group.runs, "val", "accuracy")),
        seconds=Measure(recorded(group.runs, "seconds", "total")),
        epochs=Measure(recorded(group.runs, "epochs")),
        trainable=first["parameters"]["trainable"],
        total=first["parameters"]["total"],
        train_images=first.get("data", {}).get("train"),
    )


def measured(answers: TestAnswers, labels: np.ndarray) -> dict[str, Measure]:
    """Scores of the answers, with their intervals."""
    weights = class_weights(labels)
    found = {
        "accuracy": Measure(answers.hits.mean(axis=1), mean_interval(answers.hits)),
        "balanced": Measure(answers.hits @ weights, mean_interval(answers.hits, weights)),
    }
    if answers.logits.shape[-1] > TOP:  # else every answer is among the first five
        among = np.stack([top_k(logits, labels, TOP) for logits in answers.logits])
        found["top5"] = Measure(among.mean(axis=1), mean_interval(among))
    finite = [bool(np.isfinite(logits).all()) for logits in answers.logits]
    errors = [calibration_error(x, labels) if ok else np.nan for x, ok in zip(answers.logits, finite, strict=True)]
    return found | {"calibration": Measure(np.array(errors))}


def disagreements(entry: Entry) -> list[str]:
    """A sentence if the answers do not give the test accuracy that the record has: one of the files is of another run."""
    told = recorded(entry.group.runs, "test", "accuracy")
    apart = np.abs(told - entry.accuracy.values) > 0.001
    folders = shorten([run.folder.name for run, wrong in zip(entry.group.runs, apart, strict=True) if wrong])
    why = "result.json and predictions.npz give unlike test accuracies; the report takes the latter"
    return [f"{entry.label}: in {folders} {why}."] if folders else []


def by_val(entry: Entry) -> tuple[float, ...]:
    """Sort key: the best val accuracy first; of equals the one that learns less, then the quicker one."""
    worst = (np.inf if np.isnan(x) else x for x in (-entry.val.mean, entry.trainable, entry.seconds.mean))
    return (*worst, entry.number)

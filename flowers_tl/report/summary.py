"""The numbers of a comparison, computed once for the page, the CSV, the Markdown and the terminal."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flowers_tl.results import scores, statistics
from flowers_tl.results.load_runs import Run, RunGroup
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.results.protocol import load_predictions, validate_same_images
from flowers_tl.results.scores import Metric, format_values
from flowers_tl.utils.errors import UserError, shorten

TOP, LEVEL = 5, 0.95


@dataclass(frozen=True)
class Measure:
    """One number per run, and a confidence interval where predictions by image are on record."""

    values: np.ndarray
    interval: statistics.Interval | None = None

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the sample; NaN for one run, which has none."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """Predictions for the test images: logits (seeds, images, classes) and labels (images,). Without any it is false."""

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each is right, (seeds, images)."""
        return np.stack([statistics.top_k(logits, self.labels, 1) for logits in self.logits])

    @cached_property
    def confusion(self) -> np.ndarray:
        """Number of images by true and predicted class (classes, classes), mean over the seeds."""
        return np.mean([scores.confusion(logits, self.labels) for logits in self.logits], axis=0)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Mean over the seeds, (images, classes)."""
        # A diverged run has no probabilities.
        with np.errstate(invalid="ignore"):
            return np.mean([statistics.probabilities(logits) for logits in self.logits], axis=0)


@dataclass(frozen=True, eq=False)
class StrategySummary(RunGroup):
    """A group of runs and its numbers.

    Attributes:
        number: its rank by the metric, from which its colour follows.
        scores: on the test images, by the name of the metric.
        metric: whose value on the val images, ``val``, selects the best.
        cold: whether ``seconds`` are those with an empty cache, which all runs of the comparison know, or those that passed.
    """

    number: int
    predictions: TestPredictions
    scores: dict[str, Measure]
    metric: Metric
    val: Measure
    cold: bool

    @property
    def accuracy(self) -> Measure:
        return self.scores["accuracy"]

    @property
    def seconds(self) -> Measure:
        return Measure(self.values("seconds", "cold" if self.cold else "total"))

    @property
    def epochs(self) -> Measure:
        return Measure(self.values("epochs"))

    @property
    def train_images(self) -> int | None:
        return self.runs[0].result.get("data", {}).get("train")

    @property
    def val_text(self) -> str:
        return format_values(self.val.values, self.metric)


@dataclass(frozen=True, eq=False)
class ComparisonSummary:
    """All strategies, the best on val first, and the test images that they share.

    Attributes:
        test: labels and images; the logits are those of some run. Empty if no run has predictions.
        level: of each interval of a difference, so that those of one strategy to all others hold together at 95 % (Bonferroni).
    """

    strategies: list[StrategySummary]
    class_names: list[str]
    test: SplitPredictions
    notes: list[str]
    level: float

    @property
    def best(self) -> StrategySummary | None:
        """The best on val, None if none was measured. The test images have no part in it."""
        return self.strategies[0] if np.isfinite(self.strategies[0].val.mean) else None

    @property
    def tested(self) -> list[StrategySummary]:
        """The strategies whose test accuracy is on record."""
        return [strategy for strategy in self.strategies if np.isfinite(strategy.accuracy.mean)]

    @property
    def with_predictions(self) -> list[StrategySummary]:
        """The strategies whose predictions by image are on record."""
        return [strategy for strategy in self.strategies if strategy.predictions]

    @property
    def metric(self) -> Metric:
        """What selects, measured on val."""
        return self.strategies[0].metric

    @property
    def val_title(self) -> str:
        return f"validation {self.metric.title}"

    @property
    def runs(self) -> list[Run]:
        return [run for strategy in self.strategies for run in strategy.runs]

    def class_name(self, label: int) -> str:
        """The name of a class; a network may have more outputs than the data has names."""
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"


def summarize(
    groups: Sequence[RunGroup], notes: Iterable[str] = (), metric: Metric = scores.METRICS[0]
) -> ComparisonSummary:
    """Load the predictions of all groups, the best first as group_runs has them, and compute what the report says.

    Raises:
        UserError: if the runs were not tested, or not validated, on the same images.
    """
    notes, strategies, without = list(notes), [], []
    loaded = [[load_predictions(run, notes) for run in group.runs] for group in groups]
    runs = [run for group in groups for run in group.runs]
    predictions = [one for of_group in loaded for one in of_group]
    validate_same_images(runs, predictions)
    cold = all(np.isfinite(group.values("seconds", "cold")).all() for group in groups)
    for number, (group, of_group) in enumerate(zip(groups, loaded, strict=True)):
        tests = [one.splits["test"] for one in of_group if one is not None and "test" in one.splits]
        if missing := len(of_group) - len(tests):
            without.append(group.label + (f" ({missing} of {len(of_group)} runs)" if tests else ""))
            tests = []
        strategies.append(summarize_group(group, number, tests, metric, cold))
        notes += find_contradictions(strategies[-1])
    if without:
        notes.append(
            f"Without predictions for the test images, so without confidence intervals and tests: {', '.join(without)}."
        )
    unscored = [s.label for s in strategies if np.isnan(s.val.mean) and np.isfinite(s.values("val", "accuracy")).all()]
    if len(unscored) == len(strategies):
        why = f"monitor=val/{metric.name} is not on record, and these runs have no predictions for the val images"
        raise UserError(f"{why} to compute it: choose another monitor.")
    if unscored:
        why = "since predictions for the val images are missing"
        notes.append(f"Without validation {metric.title}, {why}: {', '.join(unscored)}.")
    known = [one for one in predictions if one is not None]
    tested = [one.splits["test"] for one in known if "test" in one.splits]
    return ComparisonSummary(
        strategies,
        known[0].class_names if known else [],
        tested[0] if tested else SplitPredictions(np.empty((0, 0)), np.empty(0, int), []),
        [remove_folders(note, runs) for note in notes],
        level=1 - (1 - LEVEL) / max(1, len(groups) - len(without) - 1),
    )


def summarize_group(
    group: RunGroup, number: int, tests: Sequence[SplitPredictions], metric: Metric, cold: bool
) -> StrategySummary:
    """Compute one group's numbers: from its predictions for the test images if there are any, else from its records."""
    if tests:
        predictions = TestPredictions(np.stack([split.logits for split in tests]), tests[0].labels)
        measures = compute_scores(predictions)
    else:
        predictions = TestPredictions(np.empty((0, 0, 0)), np.empty(0, int))
        measures = {metric.name: Measure(group.values("test", metric.name)) for metric in compared_metrics()}
    val = Measure(group.val_scores(metric))
    return StrategySummary(group.label, group.runs, number, predictions, measures, metric, val, cold)


def compared_metrics() -> list[scores.Metric]:
    """The metrics of the report: all but the loss, which the comparison's first table has."""
    return [metric for metric in scores.METRICS if metric.name != "loss"]


def compute_scores(predictions: TestPredictions) -> dict[str, Measure]:
    """Scores of the predictions by metric, with the confidence intervals of those that are shares of images."""
    logits, labels, correct = predictions.logits, predictions.labels, predictions.correct
    among_first = np.stack([statistics.top_k(one, labels, TOP) for one in logits])
    intervals = {
        "accuracy": statistics.mean_interval(correct),
        "balanced_accuracy": statistics.mean_interval(correct, statistics.class_weights(labels)),
        "top5": statistics.mean_interval(among_first),
    }
    measures = {}
    for metric in compared_metrics():
        # The logits of a diverged run may be NaN, and so its score.
        with np.errstate(invalid="ignore"):
            values = np.array([metric.function(one, labels) for one in logits])
        measures[metric.name] = Measure(values, intervals.get(metric.name))
    # Of five classes or fewer each is among the first five.
    if logits.shape[-1] <= TOP:
        measures["top5"] = Measure(np.full(len(logits), np.nan))
    return measures


def find_contradictions(strategy: StrategySummary) -> list[str]:
    """A sentence if result.json and predictions.npz give different test accuracies: one of them is of another run."""
    differ = np.abs(strategy.values("test", "accuracy") - strategy.accuracy.values) > 0.001
    folders = [run.folder.name for run, differs in zip(strategy.runs, differ, strict=True) if differs]
    why = "result.json and predictions.npz give different test accuracies; the report takes the latter"
    return [f"{strategy.label}: in {shorten(folders)} {why}."] if folders else []


def remove_folders(note: str, runs: Iterable[Run]) -> str:
    """A note with the names of folders alone: a reader need not know where they lie on this machine."""
    for parent in sorted({f"{run.folder.parent}{os.sep}" for run in runs}, key=len, reverse=True):
        note = note.replace(parent, "")
    return re.sub(r"(?<![\w.:/])/(?:[^/\s]+/)+", "", note)

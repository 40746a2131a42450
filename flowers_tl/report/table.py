"""The table of groups: its columns on the page and in Markdown, and the CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from flowers_tl.report.paired_tests import PairedDifference, span
from flowers_tl.report.summary import ComparisonSummary, Measure, StrategySummary, compared_metrics
from flowers_tl.results.scores import Metric, format_values, mean_and_spread
from flowers_tl.results.statistics import Interval
from flowers_tl.results.terminal_tables import list_seeds, share
from flowers_tl.utils.errors import shorten
from flowers_tl.utils.files import format_csv

# Metrics that have other names in report.csv since its first version.
CSV_NAMES = {"balanced_accuracy": "balanced", "calibration_error": "calibration"}


@dataclass(frozen=True)
class Cell:
    """The text of a cell, a second line below it, and the number by which it sorts."""

    text: str
    value: float | None = None
    below: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.below})" if self.below else self.text

    @property
    def sort_key(self) -> str:
        """The number as text, nothing where it was not measured."""
        return f"{self.value:.9g}" if self.value is not None and np.isfinite(self.value) else ""


@dataclass(frozen=True)
class Column:
    """A column's title and the cell of each group. ``order`` says how its rows are sorted at first."""

    title: str
    cell: Callable[[StrategySummary], Cell]
    number: bool = True
    order: str = "none"
    hint: str = ""


def score(measure: Measure, metric: Metric) -> Cell:
    """Mean and spread of a metric over the seeds, and below them the confidence interval."""
    below = span(measure.interval) if measure.interval else ""
    return Cell(format_values(measure.values, metric), measure.mean, below)


def metric_column(metric: Metric) -> Column:
    """The column of a metric on the test images."""
    return Column(f"test {metric.title}", lambda s: score(s.scores[metric.name], metric), hint=metric.hint)


def seconds(strategy: StrategySummary) -> Cell:
    """Mean and spread, with a tenth where there are few."""
    measure = strategy.seconds
    return Cell(mean_and_spread(measure.values, 1 if measure.mean < 10 else 0), measure.mean)


def epochs(strategy: StrategySummary) -> Cell:
    """A count, with its spread where the seeds differ in it: some may have stopped early."""
    values = strategy.epochs.values
    same = len(set(values)) == 1
    return Cell(mean_and_spread(values[:1] if same else values, 0 if same else 1), values.mean())


def recorded(strategy: StrategySummary, path: Sequence[str], unit: float) -> Cell:
    """A number in the records of the runs, mean over the seeds, with three digits at least."""
    value = strategy.values(*path).mean() / unit
    return Cell("-" if np.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}", value)


PARAMETERS = Column(
    "trainable parameters",
    lambda s: Cell(f"{s.trainable:,}", s.trainable, share(s.trainable, s.total)),
    hint="and their share of all parameters",
)
# Name in the CSV, place in a run's record, unit of the column, its title and its hint. Shown where a run has it on record.
MEASURED = (
    ("training_flops", ("flops", "training"), 1e12, "TFLOPs of training", "10¹² operations, as without cache"),
    ("forward_flops", ("flops", "forward"), 1e9, "GFLOPs per image", "10⁹ operations of one prediction"),
    ("peak_memory_gb", ("peak_memory_gb",), 1, "peak GPU memory (GB)", "what the tensors of a run took at most"),
)
# Shown only where the groups differ in it.
OPTIONAL = (
    Column("epochs", epochs),
    Column("training images", lambda s: Cell("-" if s.train_images is None else f"{s.train_images:,}", s.train_images)),
)


def table_columns(summary: ComparisonSummary) -> list[Column]:
    """The columns of this comparison."""
    optional = [c for c in OPTIONAL if len({c.cell(strategy).text for strategy in summary.strategies}) > 1]
    first = summary.strategies[0]
    selected = Column(
        summary.val_title,
        lambda s: score(s.val, s.metric),
        order="descending" if summary.metric.sign > 0 else "ascending",
        hint="the strategy is selected by this column",
    )
    time = f"wall-clock time, test included, {'with an empty cache' if first.cold else 'as recorded'}"
    measured = [
        Column(title, partial(recorded, path=path, unit=unit), hint=hint) for _, path, unit, title, hint in MEASURED
    ]
    known = [c for c in measured if any(c.cell(strategy).sort_key for strategy in summary.strategies)]
    # What a reader looks for first stands where nobody has to scroll.
    accuracy, *others = map(metric_column, compared_metrics())
    return [
        Column("strategy", lambda s: Cell(s.label), number=False),
        selected,
        accuracy,
        PARAMETERS,
        Column("seconds per run", seconds, hint=time),
        *known,
        Column("seeds", lambda s: Cell(list_seeds(s)), number=False),
        *optional,
        *others,
    ]


def describe_intervals(summary: ComparisonSummary) -> str:
    """What the confidence intervals of the table are over."""
    labels: dict[str, list[str]] = {}
    for strategy in summary.strategies:
        if interval := strategy.accuracy.interval:
            labels.setdefault(interval.over, []).append(strategy.label)
    if not labels:
        return "No confidence intervals: the predictions by image of these runs are not on record."
    if len(labels) == 1:
        return f"Confidence intervals are 95 %, over {next(iter(labels))}."
    each = [f"over {what} for {shorten(names, most=6)}" for what, names in labels.items()]
    return f"Confidence intervals are 95 %, {'; '.join(each)}."


def to_csv(summary: ComparisonSummary, differences: Sequence[PairedDifference]) -> str:
    """One row per group, shares from 0 to 1; an empty cell was not measured."""
    by_number = {difference.second.number: difference for difference in differences}
    return format_csv([csv_row(strategy, summary, by_number.get(strategy.number)) for strategy in summary.strategies])


def csv_row(
    strategy: StrategySummary, summary: ComparisonSummary, difference: PairedDifference | None
) -> dict[str, object]:
    """All numbers of a group; ``best_minus_this`` is the difference between the best on val and this."""
    row: dict[str, object] = {
        "label": strategy.label,
        "runs": len(strategy.runs),
        "seeds": " ".join(map(str, strategy.seeds)),
        "best_by_val": int(strategy is summary.best),
        "epochs": number(strategy.epochs.mean),
        "train_pictures": "" if strategy.train_images is None else strategy.train_images,
        "learning_parameters": strategy.trainable,
        "parameters": strategy.total,
    }
    scores = {CSV_NAMES.get(name, name): measure for name, measure in strategy.scores.items()}
    val = "val" if strategy.metric.name == "accuracy" else f"val_{strategy.metric.name}"
    for name, measure in ({val: strategy.val} | scores | {"seconds": strategy.seconds}).items():
        row |= {f"{name}_mean": number(measure.mean), f"{name}_sd": number(measure.spread)}
        if name in ("accuracy", "balanced", "top5"):
            row |= limits(name, measure.interval)
    row["seconds_with"] = "empty cache" if strategy.cold else "as recorded"
    row |= {name: number(strategy.values(*path).mean()) for name, path, *_ in MEASURED}
    interval = difference.interval if difference else None
    row["best_minus_this"] = number(interval.value) if interval else ""
    row |= limits("best_minus_this", interval)
    row["best_minus_this_level"] = number(difference.level) if difference else ""
    row["best_relative_error_reduction"] = number(difference.fewer_errors) if difference else ""
    largest = max((test.p for test in difference.tests.values()), default=np.nan) if difference else np.nan
    return row | {"mcnemar_holm_largest_p": number(largest)}


def limits(name: str, interval: Interval | None) -> dict[str, object]:
    values = (number(interval.low), number(interval.high), interval.over) if interval else ("", "", "")
    return dict(zip((f"{name}_low", f"{name}_high", f"{name}_over"), values, strict=True))


def number(value: float) -> float | str:
    """Six digits, or nothing."""
    return float(f"{value:.6g}") if np.isfinite(value) else ""

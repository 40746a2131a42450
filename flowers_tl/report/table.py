"""The table of groups: its columns on the page, in Markdown and in the CSV."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from flowers_tl.report.html import Cell, Column
from flowers_tl.report.paired_tests import Comparison, points
from flowers_tl.report.recommendation import amount, digits
from flowers_tl.report.summary import TOP, Entry, Facts, Measure
from flowers_tl.results.load_runs import mean_and_spread, percent
from flowers_tl.results.terminal_tables import share
from flowers_tl.utils.errors import shorten

COLUMNS = (
    Column("strategy", number=False),
    Column("seeds", number=False),
    Column("test top-1", hint="share of the test images that are named rightly"),
    Column("balanced", hint="mean of the recalls by species"),
    Column(f"top-{TOP}", hint=f"the right name is among the first {TOP}"),
    Column("calibration error", hint="expected calibration error, 15 bins: how far confidence is from accuracy"),
    Column("val top-1", order="descending", hint="what the strategy is chosen by"),
    Column("learning parameters", hint="and their share of all"),
    Column("seconds a run", hint="wall clock, test included, as recorded"),
)


def columns(facts: Facts) -> list[Column]:
    """The columns; epochs and training images have one where they differ between the groups."""
    return [*COLUMNS, *(Column(name) for name in unlike(facts))]


def unlike(facts: Facts) -> list[str]:
    """Which of epochs and training images differ."""
    epochs = {entry.epochs.mean for entry in facts.entries}
    images = {entry.train_images for entry in facts.entries}
    found = {"epochs": len(epochs) > 1, "training images": len(images) > 1}
    return [name for name, differs in found.items() if differs]


def row(entry: Entry, facts: Facts) -> list[Cell]:
    """A group's cells under :func:`columns`."""
    further = {
        "epochs": (whole(entry.epochs), entry.epochs.mean),
        "training images": (
            "-" if entry.train_images is None else f"{entry.train_images:,}",
            entry.train_images,
        ),
    }
    return [
        Cell(entry.label),
        Cell(shorten([str(seed) for seed in entry.seeds], most=6)),
        score(entry.accuracy),
        score(entry.balanced),
        score(entry.top5),
        Cell(mean_and_spread(entry.calibration.values, 3), entry.calibration.mean),
        score(entry.val),
        Cell(f"{entry.trainable:,}", entry.trainable, share(entry.trainable, entry.total)),
        Cell(seconds(entry.seconds), entry.seconds.mean),
        *(Cell(*further[name]) for name in unlike(facts)),
    ]


def score(measure: Measure) -> Cell:
    """Mean and spread over the seeds, and below them the interval."""
    interval = measure.interval
    below = interval and f"{points(interval.low)} to {points(interval.high)}"
    return Cell(percent(measure.values), measure.mean, below)


def seconds(measure: Measure) -> str:
    """Seconds a run, and their spread."""
    if np.isnan(measure.mean):
        return "-"
    spread = f" ± {measure.spread:,.{digits(measure.mean)}f}" if len(measure.values) > 1 else ""
    return amount(measure.mean) + spread


def whole(measure: Measure) -> str:
    """A count, with its spread where the seeds differ in it: some may have stopped early."""
    same = len(set(measure.values)) == 1
    return mean_and_spread(measure.values[:1] if same else measure.values, 0 if same else 1)


def markdown_row(entry: Entry, facts: Facts) -> list[str]:
    """The same cells in one line each, without their colour and place."""
    return [f"{cell.shown} ({cell.below})" if cell.below else str(cell.shown) for cell in row(entry, facts)]


def over(facts: Facts) -> str:
    """What the intervals of the table are over."""
    spoken = {}
    for entry in facts.answered:
        spoken.setdefault(entry.accuracy.interval.over, []).append(entry.label)
    if not spoken:
        return "No intervals: these runs have no answers by image on record."
    if len(spoken) == 1:
        return f"Intervals are 95 %, over {next(iter(spoken))}."
    told = [f"over {what} for {shorten(names, most=6)}" for what, names in spoken.items()]
    return f"Intervals are 95 %, {'; '.join(told)}."


def to_csv(facts: Facts, comparisons: Sequence[Comparison]) -> str:
    """One row a group, shares from 0 to 1; an empty cell is what was not measured."""
    against = {comparison.second.number: comparison for comparison in comparisons}
    rows = [csv_row(entry, facts, against.get(entry.number)) for entry in facts.entries]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def csv_row(entry: Entry, facts: Facts, against: Comparison | None) -> dict[str, object]:
    """All numbers of a group; ``best_minus_this`` are those of the comparison with the best by val."""
    found: dict[str, object] = {
        "label": entry.label,
        "runs": len(entry.group.runs),
        "seeds": " ".join(map(str, entry.seeds)),
        "best_by_val": int(entry is facts.chosen),
        "epochs": number(entry.epochs.mean),
        "train_pictures": "" if entry.train_images is None else entry.train_images,
        "learning_parameters": entry.trainable,
        "parameters": entry.total,
    }
    for name in ("val", "accuracy", "balanced", "top5", "calibration", "seconds"):
        measure: Measure = getattr(entry, name)
        found |= {f"{name}_mean": number(measure.mean), f"{name}_sd": number(measure.spread)}
        if name in ("accuracy", "balanced", "top5"):
            found |= limits(name, measure.interval)
    interval = against.interval if against else None
    found["best_minus_this"] = number(interval.value) if interval else ""
    found |= limits("best_minus_this", interval)
    largest = max((one.adjusted for one in against.tests), default=np.nan) if against else np.nan
    return found | {"mcnemar_holm_largest_p": number(largest)}


def limits(name: str, interval) -> dict[str, object]:
    if interval is None:
        return {f"{name}_low": "", f"{name}_high": "", f"{name}_over": ""}
    return {f"{name}_low": number(interval.low), f"{name}_high": number(interval.high), f"{name}_over": interval.over}


def number(value: float) -> float | str:
    """Six digits, or nothing."""
    return float(f"{value:.6g}") if np.isfinite(value) else ""

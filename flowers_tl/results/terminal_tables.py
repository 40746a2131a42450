"""Tables for the terminal: what will learn before a run, what came out after it; the table of a comparison."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from flowers_tl.results.load_runs import RunGroup, mean_and_spread, percent
from flowers_tl.utils.errors import shorten
from flowers_tl.utils.notes import log, log_table

# (stage, parameters, trainable parameters, whether it is solved first, groups with lr, from_epoch and weight_decay)
StageRow = tuple[str, int, int, bool, Sequence[Any]]


def print_stages(rows: Iterable[StageRow], strategy: str, backbone: str) -> None:
    """Print the strategy as a table over the backbone's stages; what no row sets makes no column."""
    rows = list(rows)
    table = Table("stage", title=f"{strategy} on {backbone}", title_justify="left", show_footer=True)
    total, learning = (sum(row[k] for row in rows) for k in (1, 2))
    table.columns[0].footer = "all"
    table.add_column("parameters", footer=f"{total:,}", justify="right")
    table.add_column("trainable", footer=f"{learning:,} ({share(learning, total)})", justify="right")
    table.add_column("learning rate", justify="right")
    groups = [group for row in rows for group in row[4]]
    extra = [key for key in ("from_epoch", "weight_decay") if any(getattr(group, key) for group in groups)]
    for key in extra:
        table.add_column(key.replace("_", " "), justify="right")
    for name, parameters, trainable, solved, own in rows:
        rates = ["solved"] * solved + [f"{group.lr:.3g}" for group in own]
        cells = [", ".join(str(getattr(group, key)) for group in own if group.parameters) for key in extra]
        table.add_row(name, f"{parameters:,}", f"{trainable:,}", ", ".join(rates) or "frozen", *cells)
    log_table(table)


def print_outcome(result: Mapping[str, Any], folder: Path) -> None:
    """Print the final scores and times; the last line names the run's folder."""
    for split in ("val", "test"):
        of = result[split]
        if of["loss"] is None:
            log.info(f"{split:4}  not measured")
            continue
        log.info(
            f"{split:4}  accuracy {of['accuracy']:.1%}, balanced {of['balanced_accuracy']:.1%}, loss {of['loss']:.3f}"
            f"  ({result['data'][split]:,} images)"
        )
    log.info(", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["seconds"].items() if seconds >= 0.05))
    log.info(f"Run folder: {folder}")


HEADER = (
    "strategy",
    "seeds",
    "trainable parameters",
    "learning rates",
    "val accuracy",
    "test accuracy",
    "final val loss",
)


def table_rows(groups: Sequence[RunGroup]) -> list[tuple[str, ...]]:
    """The article's table, one row per group under :data:`HEADER`: mean ± standard deviation where there are several seeds."""
    rows = []
    for group in groups:
        first = group.runs[0].result
        rates = [f"{name} {rate:.3g}" for name, rate in first["learning_rates"].items()]
        trainable, total = first["parameters"]["trainable"], first["parameters"]["total"]
        rows.append(
            (
                group.label,
                shorten([str(run.result["seed"]) for run in group.runs], most=6),
                f"{trainable:,} ({share(trainable, total)})",
                ", ".join(["head solved"] * ("solved_head" in first) + rates),
                percent(group.values("val", "accuracy")),
                percent(group.values("test", "accuracy")),
                mean_and_spread(group.values("val", "loss"), 3),
            )
        )
    return rows


def print_comparison(groups: Sequence[RunGroup]) -> None:
    """Print a comparison's table in 80 columns: settings, seeds, rates and spreads stand below one another."""
    strategy, _, *others = HEADER
    table = Table(strategy, title="Comparison", title_justify="left", box=SIMPLE, padding=(0, 0, 1, 0))
    for name in others:
        table.add_column(name.replace(" ", "\n", 1), justify="left" if name == "learning rates" else "right")
    for label, seeds, trainable, rates, *scores in table_rows(groups):
        cells = [
            trainable.replace(" ", "\n", 1),
            rates.replace(", ", "\n"),
            *(score.replace(" ±", "\n±") for score in scores),
        ]
        table.add_row(f"{label} seeds {seeds}".replace(" ", "\n  ", label.count(" ") + 1), *cells)
    log_table(table)


def share(part: int, whole: int) -> str:
    """A share in percent with three significant digits: 0.466 %."""
    return f"{100 * part / whole:.3g} %"

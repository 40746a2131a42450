"""Tables for the terminal: what will learn before a run, what came out after it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# (stage, parameters, trainable parameters, learning rate or None where frozen)
StageRow = tuple[str, int, int, float | None]


def print_stages(rows: Iterable[StageRow], strategy: str, backbone: str) -> None:
    """Print the strategy as a table over the backbone's stages."""
    rows = list(rows)
    table = Table("stage", title=f"{strategy} on {backbone}", title_justify="left", show_footer=True)
    total, learning = (sum(row[k] for row in rows) for k in (1, 2))
    table.columns[0].footer = "all"
    table.add_column("parameters", footer=f"{total:,}", justify="right")
    table.add_column("trainable", footer=f"{learning:,} ({learning / total:.1%})", justify="right")
    table.add_column("learning rate", justify="right")
    for name, parameters, trainable, rate in rows:
        table.add_row(name, f"{parameters:,}", f"{trainable:,}", "frozen" if rate is None else f"{rate:g}")
    Console().print(table)


def print_outcome(result: Mapping[str, Any], folder: Path) -> None:
    """Print the final scores and times; the last line names the run's folder."""
    for split in ("val", "test"):
        of = result[split]
        print(
            f"{split:4}  accuracy {of['accuracy']:.1%}, balanced {of['balanced_accuracy']:.1%}, loss {of['loss']:.3f}"
            f"  ({result['data'][split]:,} pictures)"
        )
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["seconds"].items()))
    print(f"Run folder: {folder}")

"""The benchmark's table: means over its repeats, and how many times as fast as the plain loop."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from flowers_tl.utils.phase_timer import PHASES

HEADER = ("command", "seconds", *PHASES, "images/s", "private GB", "mapped GB", "test accuracy", "times as fast")
# Two tables for a terminal of 80 columns.
TERMINAL = {
    "Speed, in seconds": ("command", "seconds", *PHASES, "times as fast"),
    "Images per second, memory and accuracy": ("command", "images/s", "private GB", "mapped GB", "test accuracy"),
}
TITLES = {
    "plain": "{strategy}, plain loop",
    "flowers_tl": "{strategy}, empty cache",
    "again": "{strategy}, full cache",
    "sweep": "sweep of {count} rates, empty cache",
    "heads": "{count} rates as heads, empty cache",
}


def speed_rows(kept: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows under :data:`HEADER`; a sweep is compared with as many plain runs as it has settings."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for measured in kept["measured"]:
        groups.setdefault((measured["strategy"], measured["kind"]), []).append(measured)
    rows = []
    for (strategy, kind), found in groups.items():
        seconds = mean([one["seconds"] for one in found])
        phases = [mean([one.get("phases", {}).get(phase) for one in found]) for phase in PHASES]
        rate = mean([one["pictures"] / one["seconds"] for one in found])
        memory = [mean([(one["memory_gb"] or {}).get(name) for one in found]) for name in ("private", "mapped")]
        test = mean([one.get("test") for one in found])
        plain = mean([one["seconds"] for one in groups.get((strategy, "plain"), [])])
        times = kept["sweep"] if kind in ("sweep", "heads") else 1
        ratio = "" if plain is None or kind == "plain" else f"{times * plain / seconds:.1f}"
        cells = [
            show(seconds, ".1f"),
            *(show(p, ".1f") for p in phases),
            show(rate, ".0f"),
            *(show(m, ".2f") for m in memory),
        ]
        rows.append((TITLES[kind].format(strategy=strategy, count=kept["sweep"]), *cells, show(test, ".1%"), ratio))
    return rows


def mean(values: list[float | None]) -> float | None:
    """Mean of the values that are there; None without any."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def show(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def print_speed(kept: Mapping[str, Any]) -> None:
    """Print the tables; a phase that took no time anywhere is left out."""
    rows = [dict(zip(HEADER, row, strict=True)) for row in speed_rows(kept)]
    for title, names in TERMINAL.items():
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 0, 1, 0))
        filled = [name for name in names if any(row[name] not in ("", "0.0") for row in rows)]
        for name in filled:
            table.add_column(name.replace(" ", "\n", 1), justify="left" if name == "command" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(row[name].replace(", ", "\n ") for name in filled))
        Console().print(table)


def command_of(kept: Mapping[str, Any]) -> str:
    """The command line that measures the same."""
    words = ["python -m benchmarks.benchmark", *kept["overrides"], f"strategies={','.join(kept['strategies'])}"]
    return " ".join([*words, f"repeats={kept['repeats']}", f"sweep={kept['sweep']}"])


def to_markdown(kept: Mapping[str, Any]) -> str:
    """The table as Markdown, with the command, machine and versions."""
    machine, versions = kept["machine"], kept["versions"]
    what = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    lines = [f"`{command_of(kept)}`", "", f"Measured on: {what}; torch {versions['torch']}.", ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row) + " |" for row in speed_rows(kept)]
    return "\n".join([*lines, ""])

"""What the library says: it logs to ``flowers_tl``, so that a notebook or a service can show or silence it."""

import logging
from collections.abc import Container, Iterable, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any

log = logging.getLogger("flowers_tl")


# A process sets the same data up more than once.
@cache
def log_note(text: str) -> None:
    """Log a note for the user about something that is not wrong, once a process."""
    log.warning(f"Note: {text}")


def in_terminal() -> bool:
    """Whether progress is shown as moving bars; in a file or a pipe each would leave a blank line."""
    from rich import get_console

    return get_console().is_terminal or get_console().is_jupyter


def track(items: Iterable[Any], title: str, shown: bool = True, total: int | None = None) -> Iterable[Any]:
    """The items, with a progress bar while they are taken, if it is to be shown and this is a terminal.

    ``total`` says how many there are where their ``len`` does not.
    """
    from rich.markup import escape
    from rich.progress import track

    return track(items, escape(title), total, transient=True, disable=not (shown and in_terminal()))


def log_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    footer: Sequence[str] = (),
    left: Container[str] = (),
    padding: tuple[int, int] | tuple[int, int, int, int] = (0, 1),
) -> None:
    """Log a table as it looks in this terminal.

    Args:
        title: above it.
        header: the names of the columns.
        rows: of cells.
        footer: a last row, of totals; with it the table has lines.
        left: the columns that are aligned to the left as the first one is; the others are numbers.
        padding: of the cells.
    """
    from rich.box import HEAVY_HEAD, SIMPLE
    from rich.console import Console
    from rich.table import Table

    box = HEAVY_HEAD if footer else SIMPLE
    table = Table(title=title, title_justify="left", box=box, show_footer=bool(footer), padding=padding)
    for place, (name, total) in enumerate(zip_longest(header, footer, fillvalue="")):
        table.add_column(name, total, justify="right" if place and name not in left else "left")
    for row in rows:
        table.add_row(*row)
    # Cells are text: what stands in brackets, or between colons, is no markup.
    console = Console(markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    # A pipe keeps blanks at the ends of lines, and lines of blanks.
    log.info("\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip()))


def clock(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``12 min``, ``1 h 30 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

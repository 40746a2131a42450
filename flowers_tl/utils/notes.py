"""What the library says: it logs to ``flowers_tl``, so that a notebook or a service can show or silence it."""

import logging
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger("flowers_tl")


@cache  # a process sets the same data up more than once
def log_note(text: str) -> None:
    """Log a note for the user about something that is not wrong, once a process."""
    log.warning(f"Note: {text}")


def log_table(table: "Table") -> None:
    """Log a table as it looks in this terminal."""
    from rich.console import Console

    console = Console()
    with console.capture() as capture:
        console.print(table)
    log.info(capture.get().rstrip("\n"))

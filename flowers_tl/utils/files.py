"""Files that are whole whenever somebody reads them, and new folders that nobody else has."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


@contextmanager
def atomic_write(file: str | Path) -> Iterator[Path]:
    """Give a path beside ``file`` to write to, and rename it to ``file`` at the end.

    Whoever reads ``file`` finds all of the old content or all of the new, also after a kill. After an error the old
    content stays, and nothing lies beside it.
    """
    beside = Path(f"{file}.new")
    try:
        yield beside
        os.replace(beside, file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def new_folder(kind: str) -> Path:
    """Make a folder ``outputs/KIND_TIME`` that nobody else has, even if several begin in the same second."""
    name = f"outputs/{kind}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    for number in count(1):
        try:
            folder = Path(name if number == 1 else f"{name}_{number}")
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue

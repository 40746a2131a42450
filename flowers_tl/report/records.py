"""What the runs of a report have on record, and that they were measured on the same images."""

import os
import re
import zlib
from collections.abc import Iterable
from typing import Any
from zipfile import BadZipFile

import numpy as np

from flowers_tl.results.load_runs import Run
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.utils.errors import UserError


def answers_of(run: Run, notes: list[str]) -> Predictions | None:
    """A run's answers; a damaged file is none, and gets a note: the other runs are still to be compared."""
    try:
        return run.predictions()
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        notes.append(f"predictions.npz of {run.folder.name} can't be read ({type(error).__name__}).")
        return None


class Shared:
    """What all runs have to have alike: classes, and the images of val and test with their labels and order."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Any, Run]] = {}
        self.class_names: list[str] = []
        self.splits: dict[str, SplitPredictions] = {}

    def check(self, run: Run, predictions: Predictions | None) -> None:
        """Refuse a run that was measured on other images than the runs before it."""
        for name in ("val", "test"):
            size = recorded([run], "data", name)[0]
            if np.isfinite(size):
                self.hold(f"numbers of {name} images", int(size), run)
        if predictions is None:
            return
        self.hold("classes", predictions.class_names, run)
        self.class_names = predictions.class_names
        for name, split in predictions.splits.items():
            self.hold(f"{name} images", list(split.images), run)
            self.hold(f"labels of the {name} images", split.labels.tolist(), run)
            self.splits[name] = split

    def hold(self, what: str, value: Any, run: Run) -> None:
        """Refuse the run if an earlier one has another value."""
        known, first = self.known.setdefault(what, (value, run))
        if value != known:
            raise UserError(
                f"{first.folder} and {run.folder} have unlike {what}, so they can't stand in one report: name runs of "
                "one protocol only."
            )


def recorded(runs: Iterable[Run], *path: str) -> np.ndarray:
    """One number a run, found at ``path`` in its record; NaN where an earlier version kept none."""
    found = []
    for run in runs:
        value: Any = run.result
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        found.append(np.nan if value is None else float(value))
    return np.array(found)


def without_folders(note: str, runs: Iterable[Run]) -> str:
    """A note with the names of folders alone: where they lie on this machine is nobody else's concern."""
    for parent in sorted({f"{run.folder.parent}{os.sep}" for run in runs}, key=len, reverse=True):
        note = note.replace(parent, "")
    return re.sub(r"(?<![\w.:/])/(?:[^/\s]+/)+", "", note)

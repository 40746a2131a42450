"""The predictions of runs that are compared: read, and of the same images."""

from collections.abc import Sequence
from typing import Any

from flowers_tl.results.load_runs import Run
from flowers_tl.results.predictions import UNREADABLE, Predictions
from flowers_tl.utils.errors import UserError


def load_predictions(run: Run, notes: list[str]) -> Predictions | None:
    """A run's predictions. A damaged file gives None and a note: the other runs are still to be compared."""
    try:
        return run.predictions()
    except UNREADABLE as error:
        notes.append(f"predictions.npz of {run.folder.name} can't be read ({type(error).__name__}).")
        return None


def validate_same_images(runs: Sequence[Run], predictions: Sequence[Predictions | None]) -> None:
    """Raise UserError if a run has other classes, or other val or test images, than the runs before it."""
    known: dict[str, tuple[Any, Run]] = {}
    for run, of_run in zip(runs, predictions, strict=True):
        facts: dict[str, Any] = {}
        for name in ("val", "test"):
            if (count := run.result.get("data", {}).get(name)) is not None:
                facts[f"numbers of {name} images"] = count
        if of_run is not None:
            facts["classes"] = of_run.class_names
            for name, split in of_run.splits.items():
                facts |= {f"{name} images": split.images, f"labels of the {name} images": split.labels.tolist()}
        for what, value in facts.items():
            first_value, first = known.setdefault(what, (value, run))
            if value != first_value:
                raise UserError(
                    f"{first.folder} and {run.folder} have different {what}, so one report can't compare them: "
                    "compare only runs of the same data and classes."
                )

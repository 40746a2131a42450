"""What an evaluation found, for the terminal and as files: scores, the promise of its sets, every class's part."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.box import SIMPLE
from rich.table import Table

from flowers_tl.results.conformal import Coverage
from flowers_tl.results.images import confusion_image
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.results.scores import by_class, confusion, score
from flowers_tl.utils.notes import log, log_table
from flowers_tl.utils.strict_json import dumps

WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "top5": "top-5 accuracy",
    "loss": "loss",
    "calibration_error": "calibration error",
}
BY_CLASS = ("class", "pictures", "recall", "precision", "taken_for", "times")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A split's answers and what they are measured by.

    Attributes:
        checkpoint: whose answers they are.
        split: its name.
        answers: of the network, before any temperature.
        class_names: of the network's classes.
        reported: scores that training measured on the same images, where it did.
        temperature: by which logits are divided before they become probabilities.
        sets: how prediction sets did, where they were asked for.
    """

    checkpoint: Path
    split: str
    answers: SplitPredictions
    class_names: list[str]
    reported: Mapping[str, float] | None = None
    temperature: float = 1.0
    sets: Coverage | None = None

    @cached_property
    def scores(self) -> dict[str, float]:
        """As training measures them: without the temperature."""
        return score(self.answers.logits, self.answers.labels)

    @cached_property
    def calibrated(self) -> dict[str, float] | None:
        """With the temperature; None where there is none."""
        return None if self.temperature == 1.0 else score(self.answers.logits / self.temperature, self.answers.labels)

    @cached_property
    def counts(self) -> np.ndarray:
        """Images by true class (rows) and answered class (columns)."""
        return confusion(self.answers.logits, self.answers.labels)

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        return by_class(self.counts, self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """What evaluation.json holds."""
        return {
            "checkpoint": str(self.checkpoint),
            "split": self.split,
            "scores": self.scores,
            "reported_by_training": self.reported,
            "temperature": self.temperature,
            "scores_with_temperature": self.calibrated,
            "prediction_sets": asdict(self.sets) if self.sets else None,
            "classes": self.classes,
        }


def print_evaluation(found: Evaluation, most: int) -> None:
    """Print the scores, what the sets promise and hold, and the ``most`` classes that are recognised least."""
    own, count = found.scores, found.scores["pictures"]
    log.info(f"{found.checkpoint} on {found.split}: {own['right']:,} of {count:,} images right")
    table = Table("", box=SIMPLE)
    columns = {found.split: own, "as trained": found.reported, f"temperature {found.temperature:.3f}": found.calibrated}
    shown = {name: values for name, values in columns.items() if values}
    for name in shown:
        table.add_column(name, justify="right")
    for key, words in WORDS.items():
        cells = [values.get(key) for values in shown.values()]
        table.add_row(
            words,
            *("" if v is None else f"{v:.4f}" if key in ("loss", "calibration_error") else f"{v:.2%}" for v in cells),
        )
    log_table(table)
    if found.sets:
        log.info(found.sets.in_words())
    rows = found.classes[:most]
    table = Table(
        *("class", "images", "recall", "taken for"),
        title=f"Recognised least, {len(rows)} of {len(found.classes)} classes",
        title_justify="left",
        box=SIMPLE,
    )
    for row in rows:
        taken = f"{row['taken_for']} ({row['times']})" if row["times"] else ""
        table.add_row(row["class"], str(row["pictures"]), f"{row['recall']:.0%}", taken)
    log_table(table)


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """Write evaluation.json, classes.csv, confusion.csv, confusion.png and predictions.npz into an empty folder."""
    # Nothing is overwritten: `evaluate` has made the folder just now, or found it missing or empty.
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "classes.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, BY_CLASS)
        writer.writeheader()
        writer.writerows(found.classes)
    with open(folder / "confusion.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["true \\ answered", *found.class_names],
                *([name, *row] for name, row in zip(found.class_names, found.counts.tolist(), strict=True)),
            ]
        )
    Image.fromarray(confusion_image(found.answers)).save(folder / "confusion.png")
    Predictions(found.class_names, {found.split: found.answers}).write(folder)
    (folder / "evaluation.json").write_text(dumps(found.to_dict(), indent=2) + "\n")
    log.info(f"Written: {folder / 'evaluation.json'}, and classes, confusion and answers beside it.")

"""The result of an evaluation, printed and as files: scores, coverage of prediction sets, and the errors of every class."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flowers_tl.results import scores
from flowers_tl.results.conformal import Coverage
from flowers_tl.results.images import confusion_image
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.utils.files import atomic_folder, csv_text, dumps, format_csv
from flowers_tl.utils.notes import log, log_table


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A network's predictions for a split, and their scores.

    Attributes:
        checkpoint: of the network.
        split: its name.
        predictions: of the network, before any temperature.
        class_names: of the network's classes.
        reported: scores that training measured on the same images; None if it measured none.
        temperature: by which logits are divided before they become probabilities.
        sets: coverage of prediction sets; None if none were measured.
        without: what accuracy is without the images that an audit leaves out, in sentences.
    """

    checkpoint: Path
    split: str
    predictions: SplitPredictions
    class_names: list[str]
    reported: Mapping[str, float] | None = None
    temperature: float = 1.0
    sets: Coverage | None = None
    without: Sequence[str] = ()

    @cached_property
    def scores(self) -> dict[str, float]:
        """As training measures them: without the temperature."""
        return scores.compute_scores(self.predictions.logits, self.predictions.labels)

    @cached_property
    def calibrated(self) -> dict[str, float] | None:
        """With the temperature; None where there is none."""
        if self.temperature == 1.0:
            return None
        return scores.compute_scores(self.predictions.logits / self.temperature, self.predictions.labels)

    @cached_property
    def counts(self) -> np.ndarray:
        """Images by true class (rows) and predicted class (columns)."""
        return scores.confusion(self.predictions.logits, self.predictions.labels)

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        """A row for each class, the lowest recall first."""
        return scores.report_by_class(self.counts, self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json."""
        return {
            "checkpoint": str(self.checkpoint),
            "split": self.split,
            "scores": self.scores,
            "reported_by_training": self.reported,
            "temperature": self.temperature,
            "scores_with_temperature": self.calibrated,
            "prediction_sets": asdict(self.sets) if self.sets else None,
            "without_excluded": list(self.without),
            "classes": self.classes,
        }


def print_evaluation(result: Evaluation, most: int) -> None:
    """Print the scores, the coverage of the prediction sets, and the ``most`` classes with the lowest recall."""
    right, count = result.scores["right"], result.scores["pictures"]
    log.info(f"{result.checkpoint} on {result.split}: {right:,} of {count:,} images right")
    measured = {
        result.split: result.scores,
        "as trained": result.reported,
        f"temperature {result.temperature:.3f}": result.calibrated,
    }
    columns = {title: values for title, values in measured.items() if values}
    rows = []
    for metric in scores.METRICS:
        numbers = [values.get(metric.name) for values in columns.values()]
        rows.append([metric.title, *("" if number is None else f"{number:{metric.format}}" for number in numbers)])
    log_table("", ["", *columns], rows)
    if result.sets:
        log.info(result.sets.describe())
    for line in result.without:
        log.info(line)
    rows = []
    for row in result.classes[:most]:
        taken_for = f"{row['taken_for']} ({row['times']})" if row["times"] else ""
        rows.append([row["class"], str(row["pictures"]), f"{row['recall']:.0%}", taken_for])
    title = f"Lowest recall, {len(rows)} of {len(result.classes)} classes"
    log_table(title, ["class", "images", "recall", "taken for"], rows, left=["taken for"])


def write_evaluation(result: Evaluation, folder: Path) -> None:
    """Write evaluation.json, classes.csv, confusion.csv, confusion.png and predictions.npz into an empty folder."""
    # Nothing is overwritten: `evaluate` has made the folder just now, or it was missing or empty.
    with atomic_folder(folder) as beside:
        (beside / "classes.csv").write_text(format_csv(result.classes), newline="", encoding="utf-8")
        with open(beside / "confusion.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["true \\ answered", *map(csv_text, result.class_names)])
            writer.writerows(
                [csv_text(name), *row] for name, row in zip(result.class_names, result.counts.tolist(), strict=True)
            )
        Image.fromarray(confusion_image(result.predictions, result.class_names)).save(beside / "confusion.png")
        Predictions(result.class_names, {result.split: result.predictions}).write(beside)
        (beside / "evaluation.json").write_text(dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    log.info(f"Written: {folder / 'evaluation.json'}, and the classes, confusions and predictions beside it.")

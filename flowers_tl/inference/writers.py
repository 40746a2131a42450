"""Predictions as text: a table to read, JSON lines or CSV for other programs."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import track

from flowers_tl.inference.predictor import Prediction

Writer = Callable[[Prediction], None]


def table_writer(out: TextIO) -> Writer:
    def write(prediction: Prediction) -> None:
        out.write(f"{prediction.image}\n")
        for name, share in zip(prediction.classes, prediction.probabilities, strict=True):
            out.write(f"  {share:7.1%}  {name}\n")

    return write


def jsonl_writer(out: TextIO) -> Writer:
    def write(prediction: Prediction) -> None:
        pairs = zip(prediction.classes, prediction.probabilities, strict=True)
        top = [{"class": name, "probability": share} for name, share in pairs]
        out.write(json.dumps({"picture": prediction.image, "top": top}, ensure_ascii=False) + "\n")

    return write


def csv_writer(out: TextIO) -> Writer:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("picture", "rank", "class", "probability"))

    def write(prediction: Prediction) -> None:
        for rank, (name, share) in enumerate(zip(prediction.classes, prediction.probabilities, strict=True), start=1):
            writer.writerow((prediction.image, rank, name, f"{share:.6f}"))

    return write


WRITERS: dict[str, Callable[[TextIO], Writer]] = {"table": table_writer, "jsonl": jsonl_writer, "csv": csv_writer}


def write_predictions(
    predictions: Iterable[Prediction], form: str, out: TextIO, total: int, progress: bool, keep: int
) -> list[Path]:
    """Write predictions one after another; return the files of the first ones.

    Args:
        predictions: of images that are files.
        form: of WRITERS.
        out: where the text goes.
        total: how many predictions there will be at most.
        progress: whether to show a progress bar on stderr.
        keep: how many files to return.
    """
    write, first = WRITERS[form](out), []
    console = Console(stderr=True)
    for prediction in track(predictions, "Predicting", total, console=console, transient=True, disable=not progress):
        write(prediction)
        first += [Path(prediction.image)][: keep - len(first)]
    return first

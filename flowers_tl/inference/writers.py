"""Predictions as text: a table to read, JSON lines or CSV for other programs."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import track

from flowers_tl.inference.predictor import Prediction
from flowers_tl.utils.files import csv_text, dumps


def write_table(prediction: Prediction, out: TextIO) -> None:
    out.write(f"{prediction.image}\n")
    out.writelines(f"  {probability:7.1%}  {name}\n" for name, probability in prediction.top)


def write_jsonl(prediction: Prediction, out: TextIO) -> None:
    top = [{"class": name, "probability": probability} for name, probability in prediction.top]
    # Elsewhere a letter might be printed as \\x and two digits, which JSON does not know.
    is_utf8 = (out.encoding or "utf-8").lower().startswith("utf")
    out.write(dumps({"picture": prediction.image, "top": top}, ensure_ascii=not is_utf8) + "\n")


def write_csv(prediction: Prediction, out: TextIO) -> None:
    rows = enumerate(prediction.top, start=1)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(
        (csv_text(prediction.image or "", "./"), rank, csv_text(name), f"{probability:.6f}")
        for rank, (name, probability) in rows
    )


# The text above all predictions, and the function that writes one.
WRITERS: dict[str, tuple[str, Callable[[Prediction, TextIO], None]]] = {
    "table": ("", write_table),
    "jsonl": ("", write_jsonl),
    "csv": ("picture,rank,class,probability\n", write_csv),
}


def write_predictions(
    predictions: Iterable[Prediction], form: str, out: TextIO, total: int, progress: bool, keep: int
) -> list[Path]:
    """Write predictions one after another; return the files of the first ``keep``.

    Args:
        predictions: of images that are files.
        form: of WRITERS.
        out: where the text goes.
        total: how many predictions there will be at most.
        progress: whether to show a progress bar on stderr.
        keep: how many files to return.
    """
    header, write = WRITERS[form]
    out.write(header)
    files: list[Path] = []
    console = Console(stderr=True)
    for prediction in track(predictions, "Predicting", total, console=console, transient=True, disable=not progress):
        write(prediction, out)
        if prediction.image and len(files) < keep:
            files.append(Path(prediction.image))
    return files

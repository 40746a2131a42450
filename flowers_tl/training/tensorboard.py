"""What TensorBoard shows of a run: curves by metric, images, and hyper-parameters in the same columns for every run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.splits import SPLITS
from flowers_tl.results.images import confusion_image, mistakes_image
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.runs.record import RunFolder
from flowers_tl.utils.files import names_below

# Charts that show train and validation together, for the page CUSTOM SCALARS.
LAYOUT = {
    "train and validation": {
        metric: ["Multiline", [f"{metric}/train", f"{metric}/val"]] for metric in ("accuracy", "loss")
    }
}


class TensorBoard(TensorBoardLogger):
    """Lightning's logger with tags by which accuracy and loss of all splits stand first, and without a curve of epochs.

    A run of an earlier version that goes on keeps its tags: its curves go on.

    Args:
        folder: of the run.
        purge_step: from which on the curves are written anew; None in a new run.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False, purge_step=purge_step)
        events = folder.glob("events.out.tfevents.*") if purge_step is not None else ()
        self.old_tags = any(file.is_file() and b"train/loss" in file.read_bytes() for file in events)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if not self.old_tags:
            metrics = {tag(name): value for name, value in metrics.items() if name != "epoch"}
        super().log_metrics(metrics, step)


def find_board(loggers: Iterable[Logger]) -> TensorBoard | None:
    """The logger for images, if there is one."""
    return next((logger for logger in loggers if isinstance(logger, TensorBoard)), None)


def tag(name: str) -> str:
    """Where TensorBoard, which sorts by names, shows a metric: ``accuracy/val`` for ``val/accuracy``, and others behind it."""
    kind, _, metric = name.partition("/")
    if kind in SPLITS:
        return f"{metric}/{kind}" if metric in ("accuracy", "loss") else f"metrics/{metric}_{kind}"
    return name if kind == "result" else f"stages/{name}"


def collect_predictions(data: ImageDataModule, logits: Mapping[str, np.ndarray | None]) -> Predictions:
    """The logits of each split's first images, float32 (n, classes), with labels and files; None: not measured."""
    splits = {}
    for name, values in logits.items():
        if values is not None:
            images, count = data.images[name], len(values)
            files = names_below(images.files[:count], data.root)
            splits[name] = SplitPredictions(values, np.array(images.labels[:count]), files)
    return Predictions(list(data.class_names), splits)


def record_predictions(
    run: RunFolder, loggers: Iterable[Logger], data: ImageDataModule, logits: Mapping[str, np.ndarray | None]
) -> None:
    """Write ``predictions.npz``, and show in TensorBoard which classes are confused, and the worst mistakes.

    Args:
        run: whose folder gets them.
        loggers: of the run.
        data: on which they were measured.
        logits: of each split's first images, float32 (n, classes); None where it was not measured.
    """
    predictions = collect_predictions(data, logits)
    predictions.write(run.folder)
    if (logger := find_board(loggers)) is None:
        return
    for name, split in predictions.splits.items():
        logger.experiment.add_image(
            f"{name}/confusion", confusion_image(split, predictions.class_names), 0, dataformats="HWC"
        )
        mistakes = mistakes_image(split, predictions.class_names, data.root, data.value_range)
        if mistakes is not None:
            logger.experiment.add_image(f"{name}/worst_mistakes", mistakes, 0, dataformats="HWC")


def log_hyperparameters(
    loggers: Iterable[Logger], config: Mapping[str, Any], result: Mapping[str, Any], step: int
) -> None:
    """Give the loggers hyper-parameters and final metrics, once, at the end, at a ``step``; TensorBoard on its page HPARAMS."""
    values = {key: result[key] for key in ("strategy", "backbone", "weights", "seed", "epochs")}
    # One text: columns that not all runs have are lost.
    values["learning_rates"] = ", ".join(f"{name} {rate:.3g}" for name, rate in result["learning_rates"].items())
    values |= {group: config[group]["name"] for group in ("data", "optimizer", "scheduler", "regularisation")}
    values |= {"weight_decay": config["optimizer"]["weight_decay"], "batch_size": config["data"]["batch_size"]}
    scores = {f"{split}_{name}": value for split in ("val", "test") for name, value in result[split].items()}
    for logger in loggers:
        kind = "final" if getattr(logger, "old_tags", False) else "result"
        known = {f"{kind}/{name}": value for name, value in scores.items() if value is not None}
        if isinstance(logger, TensorBoard):
            # At a step that a run which was killed just now takes back when it goes on.
            logger.log_hyperparams(values, known, step)
        else:
            # MLflow refuses a value that changes, as this one does where a run is trained longer.
            known["result/epochs"] = values.get("epochs")
            fixed = {name: value for name, value in values.items() if name != "epochs"}
            logger.log_hyperparams(fixed | {"run_id": result.get("id")})
            logger.log_metrics(known, step)
        logger.finalize("success")

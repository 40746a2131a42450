"""Measure a trained network on a split, in the way in which training measured it: the same images, function and bits."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.splits import SPLITS
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.training.callbacks import PredictionCollector, ProgressBar
from flowers_tl.training.factory import prepare_features, set_up_data, with_frozen_prefix
from flowers_tl.training.trainer import find_callback, quiet
from flowers_tl.utils.errors import UserError, shorten


def predict_splits(
    trained: TrainedModel, config: Mapping[str, Any], splits: Sequence[str]
) -> tuple[Predictions, ImageDataModule]:
    """The network's logits for all images of the splits, with labels as the network counts its classes; and their data.

    Args:
        trained: what answers.
        config: its run's, in which ``data`` may be another, with the same classes or some of them.
        splits: of ``train``, ``val`` and ``test``, or ``all`` alone, for all images of the data as one split; train images
            are taken as they are, none changed at random.

    Raises:
        UserError: if the data has a class that the network does not know.
    """
    whole = {f"limit_{split}_batches": None for split in SPLITS} | {"fast_dev_run": False, "overfit_batches": 0.0}
    config = {**config, "trainer": config["trainer"] | whole}
    data = set_up_data(config, undivided="all" in splits)
    model = trained.model
    places = class_places(model.hparams.class_names, data)
    if config["compute"]["channels_last"]:
        model.to(memory_format=torch.channels_last)
    found = {}
    with quiet(logging.WARNING):  # which devices there are is not the question
        trainer = make_trainer(config["trainer"])
        seen = with_frozen_prefix(config, data, model, trainer, first_epoch=trainer.max_epochs)
        for split in [split for split in SPLITS if data.sizes[split]] if data.undivided else splits:
            prepare_features(seen, split)
            trainer.test(model, dataloaders=seen.in_order(split), verbose=False)
            images = data.images[split]
            files = [file.relative_to(data.root).as_posix() for file in images.files]
            found[split] = SplitPredictions(
                find_callback(trainer, PredictionCollector).gathered("test"), places[images.labels], files
            )
    if data.undivided:
        found = {"all": join(list(found.values()))}
    return Predictions(list(model.hparams.class_names), found), data


def join(parts: Sequence[SplitPredictions]) -> SplitPredictions:
    """The answers of several splits as those of one."""
    logits, labels = (np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "labels"))
    return SplitPredictions(logits, labels, [image for part in parts for image in part.images])


def make_trainer(chosen: Mapping[str, Any]) -> L.Trainer:
    """Lightning's Trainer with what decides the bits, on one device, for answers alone."""
    taken = ("accelerator", "precision", "deterministic", "max_epochs", "inference_mode", "enable_progress_bar")
    callbacks = [PredictionCollector(), *([ProgressBar()] if chosen["enable_progress_bar"] else [])]
    return L.Trainer(
        **{key: chosen[key] for key in taken},
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def class_places(known: Sequence[str], data: ImageDataModule) -> np.ndarray:
    """Where each of the data's classes stands among the network's, by name, int64 (classes of the data,)."""
    names = data.class_names
    if list(names) == list(known):
        return np.arange(len(names))
    if strange := [name for name in names if name not in known]:
        raise UserError(
            f"The network has no class {shorten(strange)}: it was trained on {shorten(known)}; name data with these classes."
        )
    return np.array([known.index(name) for name in names])

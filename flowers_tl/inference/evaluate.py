"""Measure a trained network on a split in the way in which training measured it: same images, same function, same bits."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from flowers_tl.config.compose import compose_config
from flowers_tl.data.cached.content_hash import hash_files
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.exclusions import read_exclusions
from flowers_tl.data.registry import find_data, make_data
from flowers_tl.data.splits import SPLITS
from flowers_tl.inference.checkpoint import TrainedModel, keep_temperature, load_trained
from flowers_tl.report.excluded_images import describe_without
from flowers_tl.results.conformal import conformal_threshold, fit_temperature, measure_coverage, validate_alpha
from flowers_tl.results.evaluation import Evaluation, print_evaluation, write_evaluation
from flowers_tl.results.predictions import Predictions, join
from flowers_tl.runs.resume import with_this_machine
from flowers_tl.training.callbacks import PredictionCollector, find_callback
from flowers_tl.training.factory import prepare_features, prepare_run_data, set_up_data
from flowers_tl.training.gpu_memory import explain_out_of_memory
from flowers_tl.training.progress import ProgressBar
from flowers_tl.training.tensorboard import collect_predictions
from flowers_tl.training.trainer import quiet_lightning
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.files import new_folder, validate_new_folder
from flowers_tl.utils.notes import in_terminal, log

# Classes in the terminal; the file has all.
MOST_CLASSES = 10


def evaluate(
    ckpt: str | Path,
    split: str = "test",
    calibrate: bool = False,
    conformal: float | None = None,
    exclude: str | Path | None = None,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Evaluation:
    """Measure a network on a split, log the scores, and write them into a folder.

    Args:
        ckpt: a checkpoint, or a run's folder.
        split: of :data:`flowers_tl.data.splits.SPLITS`, or ``all``, every image of the data.
        calibrate: fit a temperature on val, and keep it in the checkpoint.
        conformal: the share of prediction sets that may miss the true class; None measures no such sets.
        exclude: an audit.csv; also say what accuracy is without the images that it leaves out.
        out: a new folder; None makes one in outputs.
        overrides: of ``data`` and ``cache``, as the command ``train`` takes them.

    Raises:
        UserError: if the network or the data can't be read, do not fit, or val is no val of this network.
    """
    trained = load_trained(ckpt)
    if conformal is not None:
        validate_alpha(conformal)
    if exclude and split == "all":
        raise UserError("exclude is about copies in other splits, and split=all has no others: use split=test.")
    exclusions = read_exclusions(exclude) if exclude else None
    validate_new_folder(out)
    config = evaluation_config(trained, overrides)
    fitted_on_val = "calibrate" if calibrate else "conformal" if conformal is not None else ""
    if fitted_on_val:
        validate_val_use(fitted_on_val, split, trained, config)
    predictions, data = predict_splits(trained, config, sorted({split, "val"} if fitted_on_val else {split}))
    measured, temperature, sets = predictions.splits[split], trained.temperature, None
    val = predictions.splits.get("val", measured)
    if calibrate:
        temperature = fit_temperature(val.logits, val.labels)
    if conformal is not None:
        threshold = conformal_threshold(val.logits / temperature, val.labels, conformal)
        sets = measure_coverage(measured.logits / temperature, measured.labels, threshold, conformal)
    fingerprint = trained.record.get("protocol", {}).get("splits", {}).get(split)
    reported = trained.measured.get(split) if fingerprint == data.split_fingerprints().get(split) else None
    for note in notes(trained, config, split, data, reported is not None):
        log.warning(f"Note: {note}")
    without = describe_without(exclusions, split, measured) if exclusions else []
    result = Evaluation(trained.path, split, measured, predictions.class_names, reported, temperature, sets, without)
    print_evaluation(result, MOST_CLASSES)
    # Measuring takes minutes, in which another command may have written there.
    validate_new_folder(out)
    write_evaluation(result, Path(out) if out else new_folder("evaluation"))
    # Last: an evaluation that fails leaves the checkpoint as it was.
    if calibrate:
        keep_temperature(trained, temperature)
        log.info(f"Changed: {trained.path} has the temperature {temperature:.3f} now, for all commands that use it.")
    return result


def evaluation_config(trained: TrainedModel, overrides: Sequence[str]) -> dict[str, Any]:
    """The config of the network's run, with what the overrides say of data and cache.

    ``data=...`` takes other images, ``data.limit=...`` another part of the same.
    """
    config = trained.config
    if config is None:
        raise UserError(
            f"{trained.path} does not say on which images it was trained: move it back into its run's folder."
        )
    keys = [word.partition("=")[0] for word in overrides]
    size = trained.model.hparams.image_size
    trained_with = {"image_size": size, "fit": trained.model.backbone.preprocessing.fit}
    for key, value in trained_with.items():
        if f"data.{key}" in keys:
            raise UserError(f"data.{key} can't differ from that of the network's training, {value}: leave it out.")
    composed = compose_config([*([] if "data" in keys else [f"data={config['data']['name']}"]), *overrides])
    for key in keys:
        part, _, inner = key.partition(".")
        config = config | {part: config[part] | {inner: composed[part][inner]} if inner else composed[part]}
    config = with_this_machine(config | {"data": config["data"] | trained_with}, composed)
    # Downloads, or draws: into a folder that the user names, and never into one that only the record names.
    if {"data", "data.root"} & set(keys):
        make_data(config).prepare_data()
    return config


def validate_val_use(key: str, split: str, trained: TrainedModel, config: Mapping[str, Any]) -> None:
    """Raise UserError if the option ``key`` would be fitted on images that are no val of this network."""
    if split == "all":
        raise UserError(f"{key} is fitted on val, and split=all would measure val too: use split=test.")
    if trained_on_val(trained, config):
        raise UserError(
            f"{key} is fitted on val, but this network was trained on val (data.protocol=trainval): leave it out."
        )


def trained_on_val(trained: TrainedModel, config: Mapping[str, Any]) -> bool:
    """Whether the network was trained on these data's val images."""
    measured, trained_on = config["data"], (trained.config or config)["data"]
    return trained_on["protocol"] == "trainval" and all(
        measured.get(key) == trained_on.get(key) for key in ("name", "root", "file")
    )


def notes(
    trained: TrainedModel, config: Mapping[str, Any], split: str, data: ImageDataModule, as_trained: bool
) -> Iterator[str]:
    """Notes for the user about the measured images."""
    if not as_trained and split in trained.measured:
        yield f"these are not the {split} images of the training, so that the scores can't be compared with those of its run."
    if split == "val" and trained_on_val(trained, config):
        yield "the network was trained on these val images too (data.protocol=trainval)."
    known = find_data(trained.config, data.cache) if trained.config else None
    learned = set(hash_files(known.images["train"].files, data.cache)) if known else set()
    files = [file for part in (SPLITS if split == "all" else [split]) for file in data.images[part].files]
    if known_images := sum(content in learned for content in hash_files(files, data.cache)):
        yield f"the network was trained on {known_images:,} of these {len(files):,} images, so the scores are too good."
    if not as_trained and split in data.cut_splits:
        share = f"{data.sizes[split]:,} of {sum(data.sizes.values()):,} images"
        yield f"the data set has no {split} split: {share} were cut out and measured; split=all measures all."


def predict_splits(
    trained: TrainedModel, config: Mapping[str, Any], splits: Sequence[str]
) -> tuple[Predictions, ImageDataModule]:
    """Compute the network's logits for all images of the splits; return them with the data.

    Args:
        trained: the network; the labels are places among its classes.
        config: of its run, in which ``data`` may be another, with the same classes or some of them.
        splits: of ``train``, ``val`` and ``test``, or ``all`` alone, for all images of the data as one split; train images
            are not augmented.

    Raises:
        UserError: if the data has a class that the network does not know.
    """
    whole = {f"limit_{split}_batches": None for split in SPLITS} | {"fast_dev_run": False, "overfit_batches": 0.0}
    config = {**config, "trainer": config["trainer"] | whole}
    data = set_up_data(config, unsplit="all" in splits, prepare=False)
    model, logits = trained.model, {}
    places = class_places(model.hparams.class_names, data)
    if config["compute"]["channels_last"]:
        model.to(memory_format=torch.channels_last)
    # Lightning's remarks on the machine's devices do not matter here.
    with quiet_lightning(logging.WARNING):
        trainer = make_trainer(config["trainer"])
        run_data = prepare_run_data(config, data, model, trainer, first_epoch=trainer.max_epochs)
        for split in [split for split in SPLITS if data.sizes[split]] if data.unsplit else splits:
            with explain_out_of_memory(f"use a smaller data.batch_size than {data.batch_size}"):
                prepare_features(run_data, split)
                if bar := find_callback(trainer, ProgressBar):
                    bar.measured = split
                trainer.test(model, dataloaders=run_data.in_order(split), verbose=False)
            logits[split] = find_callback(trainer, PredictionCollector).gathered("test")
    predictions = {
        split: replace(one, labels=places[one.labels])
        for split, one in collect_predictions(data, logits).splits.items()
    }
    if data.unsplit:
        predictions = {"all": join(list(predictions.values()))}
    return Predictions(list(model.hparams.class_names), predictions), data


def make_trainer(options: Mapping[str, Any]) -> L.Trainer:
    """Lightning's Trainer on one device, with the options of the run's trainer on which the bits of logits depend."""
    keys = ("accelerator", "precision", "deterministic", "max_epochs", "inference_mode")
    bar = options["enable_progress_bar"] and in_terminal()
    return L.Trainer(
        **{key: options[key] for key in keys},
        devices=1,
        callbacks=[PredictionCollector(), *[ProgressBar()] * bar],
        enable_progress_bar=bar,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def class_places(known: Sequence[str], data: ImageDataModule) -> np.ndarray:
    """Where each of the data's classes stands among the network's, by name, int64 (classes of the data,)."""
    places = {name: place for place, name in enumerate(known)}
    if unknown := [name for name in data.class_names if name not in places]:
        raise UserError(
            f"The network has no class {shorten(unknown)}: it was trained on {shorten(known)}; use data with these classes."
        )
    return np.array([places[name] for name in data.class_names])

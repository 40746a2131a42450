"""One run, from a plain config to its record: prepare data and network, fit, test. Usable without Hydra."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from flowers_tl.config.keys import wants_many_heads
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.registry import make_data
from flowers_tl.data.transforms import FLIPS
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_heads import choose_neighbours
from flowers_tl.models.linear_probe import compute_features, solve_head
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.models.recompute import run_recomputed
from flowers_tl.results.terminal_tables import print_classes, print_outcome, print_setup, print_stages
from flowers_tl.runs.record import UNTESTED, RunFolder, command_words
from flowers_tl.runs.resume import (
    ResumePoint,
    find_checkpoint,
    read_finished,
    read_start,
    restore_config,
    validate_same_images,
    validate_same_model,
)
from flowers_tl.runs.run_id import identify
from flowers_tl.training.callbacks import PredictionCollector, Recorder, find_callback, restore_records
from flowers_tl.training.factory import describe_run, initial_model, make_model, prepare_features, prepare_run_data
from flowers_tl.training.feature_data import FeatureDataModule, RunData
from flowers_tl.training.flops import count_flops
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.training.gpu_memory import describe_device, peak_memory_recorded
from flowers_tl.training.head_grid import train_heads
from flowers_tl.training.loggers import finish_loggers
from flowers_tl.training.tensorboard import log_hyperparameters, record_predictions
from flowers_tl.training.trainer import (
    last_scores,
    make_trainer,
    processes_released,
    quiet_lightning,
    without_loggers,
)
from flowers_tl.training.validate import validate_config, validated_data
from flowers_tl.utils.errors import validate_not_empty
from flowers_tl.utils.notes import log, track


def train(
    config: dict[str, Any],
    folder: str | Path,
    named_keys: tuple[str, ...] = (),
    callbacks: Sequence[Callback] = (),
    data: ImageDataModule | None = None,
    tested: bool = True,
) -> dict[str, Any]:
    """Train, test and record one run, or go on with one that stopped.

    Args:
        config: what ``flowers_tl/config/schema.py`` describes, as plain Python with every key present.
        folder: where config.yaml, history.csv, result.json, the checkpoints and TensorBoard's events go.
        named_keys: with ``ckpt_path``: the keys of ``config`` that are meant, see :func:`flowers_tl.runs.resume.restore_config`;
            all others are taken from the run that goes on.
        callbacks: further ones of the Trainer, which act before the run's own, but after the check for divergence.
        data: what the config names, where it is set up already.
        tested: False: end before the test, with val predictions; the same run with ``ckpt_path=last`` makes the test later.

    Returns:
        The content of ``result.json``; of many heads, see :func:`flowers_tl.training.head_grid.train_heads`, the folder's of all.

    Raises:
        UserError: if the config does not fit the data, the network or the folder.
        FreezeCheckError: if what happens is not what the strategy's table says.
    """
    validate_not_empty({"folder": folder, **config})
    config = with_preprocessing(config)
    if wants_many_heads(config):
        return train_heads(config, folder, data)
    start = ResumePoint()
    if config["ckpt_path"] is not None:
        checkpoint = find_checkpoint(config["ckpt_path"], folder)
        config, own_root = restore_config(config, checkpoint, named_keys), config["data"]["root"]
        if (result := read_finished(config, folder, longer="trainer.max_epochs" in named_keys)) is not None:
            return result
        # Read before the folder is touched: a run that can't go on stays as it is.
        start = read_start(config, checkpoint, folder)
    data = data or validated_data(config, not start.checkpoint or config["data"]["root"] == own_root)
    if start.checkpoint:
        validate_same_images(start, data)
    text, record = yaml.safe_dump(config, sort_keys=False), rank_zero_only.rank == 0
    with (
        processes_released(),
        quiet_lightning(),
        finish_loggers(),
        RunFolder(folder, text, record, start.folder, start.epoch, data.clock) as run,
    ):
        # Early: a run that stops here is known when it is started again.
        run.update(identify(config, data))
        model, trainer, run_data = prepare(config, run, data, start, callbacks)
        with peak_memory_recorded(run, trainer.strategy.root_device, config["data"]["batch_size"]):
            fit(run, model, trainer, run_data, start)
            if tested:
                test(config, run, model, trainer, run_data, data)
            else:
                leave_untested(run, trainer, data)
    if run.record and tested:
        print_outcome(run.result, run.folder)
    return run.result


def prepare(
    config: dict[str, Any], run: RunFolder, data: ImageDataModule, start: ResumePoint, callbacks: Sequence[Callback]
) -> tuple[TransferClassifier, Trainer, RunData]:
    """Build the network with its first weights, its Trainer, and the data as the network takes them; record what they are."""
    model = initial_model(config, data)
    load_weights(model.backbone, initial_weights(config))
    model.keep_anchors()
    if start.checkpoint:
        validate_same_model(start, model)
    # Else Lightning loads it.
    if start.complete:
        model.load_state_dict(start.content["state_dict"])
    if config["compute"]["channels_last"]:
        model.to(memory_format=torch.channels_last)
    if config["compute"]["gradient_checkpointing"]:
        model.backbone.recompute = run_recomputed
    if config["compute"]["compile"]:
        model.compile()
    trainer = make_trainer(config, run, model, *callbacks, first_step=start.first_step)
    run_data = prepare_run_data(config, data, model, trainer, start.epoch)
    device = describe_device(trainer.strategy.root_device)
    # A run that goes on was begun by another command.
    run.update(
        {"command": command_words()} | run.result | describe_run(config, model, data, run_data) | {"device": device}
    )
    if run.record:
        print_stages(model.stage_rows(), config["strategy"]["name"], config["backbone"]["name"])
        print_setup(run.result, data.num_classes, device, data.cache is not None)
    return model, trainer, run_data


def fit(run: RunFolder, model: TransferClassifier, trainer: Trainer, run_data: RunData, start: ResumePoint) -> None:
    """Solve the head, if the strategy says so, and train; record val scores and what was checked."""
    if model.strategy.head != "random" and not start.checkpoint:
        run.update({"solved_head": solve(run, model, trainer, run_data)})
    prepare_features(run_data, "train", "val")
    if start.checkpoint:
        restore_records(trainer, model, start)
    with run.clock.timed("fit"):
        if model.groups and not start.complete:
            trainer.fit(model, datamodule=run_data, ckpt_path=start.checkpoint)
        # The scores of the final weights: measured now, unless the last validation was after the last step.
        if find_callback(trainer, Recorder).validated_at != trainer.global_step:
            with without_loggers(trainer):
                trainer.validate(model, datamodule=run_data, verbose=False)
    freeze_check = find_callback(trainer, FreezeCheck)
    check = (freeze_check and freeze_check.summary) or None
    # Where nothing was trained Lightning has kept nothing.
    if not model.groups and not start.complete:
        trainer.save_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    run.update({"val": last_scores(trainer, "val"), "epochs": trainer.current_epoch, "proof": check})


def test(
    config: dict[str, Any],
    run: RunFolder,
    model: TransferClassifier,
    trainer: Trainer,
    run_data: RunData,
    data: ImageDataModule,
) -> None:
    """Test the final weights, and the best checkpoint if the config says so; record scores and predictions."""
    prepare_features(run_data, "test")
    with run.clock.timed("test"):
        trainer.test(model, datamodule=run_data, verbose=False)
        run.update({"test": last_scores(trainer, "test")})
        collector = find_callback(trainer, PredictionCollector)
        logits = {split: collector.gathered(split) for split in ("val", "test")}
        # Fewer than there are, where trainer.limit_* says so.
        run.update({"measured": {split: len(values) for split, values in logits.items() if values is not None}})
        if run.record:
            record_predictions(run, trainer.loggers, data, logits)
        if config["test_best"]:
            best, result = run.folder / "checkpoints" / "best.ckpt", None
            # Without a validation there is no best checkpoint.
            if best.is_file():
                with without_loggers(trainer):
                    trainer.validate(model, datamodule=run_data, ckpt_path=best, verbose=False)
                    result = {"epoch": torch.load(best, weights_only=True)["epoch"], "val": last_scores(trainer, "val")}
                    trainer.test(model, datamodule=run_data, ckpt_path=best, verbose=False)
                    result["test"] = last_scores(trainer, "test")
            run.update({"best": result})
    run.update({"flops": count_flops(config, data.num_classes, run.result["epochs"], data.sizes["train"])})
    log_hyperparameters(trainer.loggers, config, run.result, trainer.global_step)


def leave_untested(run: RunFolder, trainer: Trainer, data: ImageDataModule) -> None:
    """Record val predictions, and that the test is still to be made."""
    run.ending = UNTESTED
    record_predictions(run, (), data, {"val": find_callback(trainer, PredictionCollector).gathered("val")})


def show_strategy(config: dict[str, Any]) -> None:
    """Print which stages are trainable, how fast and from when on, without weights or a folder, and the user's classes."""
    validate_config(config)
    data = make_data(config)
    with torch.device("meta"):
        model = make_model(config, data.count_classes())
    if isinstance(data, FolderDataModule):
        print_classes(data.root, data.plan_splits())
    print_stages(model.stage_rows(), config["strategy"]["name"], config["backbone"]["name"])
    log.info(", ".join(f"{group} {config[group]['name']}" for group in ("optimizer", "scheduler", "regularisation")))


def solve(run: RunFolder, model: TransferClassifier, trainer: Trainer, run_data: RunData) -> dict[str, Any]:
    """Begin from the best head on the features as they are; return what ``result.json`` says of it.

    On several devices each process does the same: they are to begin from the same head.
    """
    shown = trainer.progress_bar_callback is not None and trainer.is_global_zero
    # A mirrored flower is the same flower: as in the training of other strategies, the head is to learn that.
    flips = FLIPS[run_data.data.flip if isinstance(run_data, FeatureDataModule) else run_data.flip]
    decays = partial(track, title="Solving the head", shown=shown)
    solver: Callable[..., Any] = partial(solve_head, class_weights=model.class_weights, progress=decays)
    if model.strategy.head == "neighbours":
        # A mirror image would be a second neighbour that looks the same.
        flips, solver = FLIPS["none"], partial(choose_neighbours, candidates=model.strategy.neighbours)
    if isinstance(run_data, FeatureDataModule):
        features = [run_data.before_head("train", *flips), run_data.before_head("val", "centre")]
    else:
        device, splits = trainer.strategy.root_device, {"train": flips, "val": ("centre",)}
        batches = {split: track(run_data.in_order(split), f"Features of {split}", shown) for split in splits}
        with run.clock.timed("prefix"):
            features = [compute_features(model.backbone, batches[split], device, splits[split]) for split in splits]
    with run.clock.timed("solve"):
        best, tried = solver(model.backbone, *features)
    model.enter_epoch(None)
    return best.to_dict() | {"candidates": [one.to_dict() for one in tried]}

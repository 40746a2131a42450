"""One run, from a plain config to its record: data, network, fit, test. Usable without Hydra."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from rich.progress import track

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.registry import make_data
from flowers_tl.data.sampling import derive_seed
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.linear_probe import compute_features, solve_head
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.results.terminal_tables import print_outcome, print_stages
from flowers_tl.runs.record import RunFolder
from flowers_tl.runs.resume import (
    find_checkpoint,
    only_test_left,
    read_checkpoint,
    read_finished,
    restore_config,
    validate_same_images,
    validate_same_model,
)
from flowers_tl.runs.run_id import identify
from flowers_tl.training.callbacks import History, PredictionCollector
from flowers_tl.training.factory import (
    collect_predictions,
    describe_prefix,
    describe_run,
    make_model,
    prepare_features,
    set_up_data,
    with_frozen_prefix,
)
from flowers_tl.training.feature_data import FeatureDataModule
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.training.head_choices import wants_many_heads
from flowers_tl.training.head_grid import train_heads
from flowers_tl.training.interruption import Interruption
from flowers_tl.training.trainer import (
    find_callback,
    log_hyperparameters,
    log_predictions,
    make_trainer,
    quiet,
    without_loggers,
)
from flowers_tl.training.validate import validate_config
from flowers_tl.utils.errors import validate_not_empty
from flowers_tl.utils.notes import log


def train(
    config: dict[str, Any],
    folder: str | Path,
    given: tuple[str, ...] = (),
    callbacks: Sequence[Callback] = (),
    data: ImageDataModule | None = None,
) -> dict[str, Any]:
    """Train, test and record one run, or go on with one that stopped.

    Args:
        config: what ``flowers_tl/config/schema.py`` describes, as plain Python with every key present.
        folder: where config.yaml, history.csv, result.json, the checkpoints and TensorBoard's events go.
        given: with ``ckpt_path``: the keys of ``config`` that are meant, see :func:`flowers_tl.runs.resume.settle`; all others
            are taken from the run that is gone on with.
        callbacks: further ones of the Trainer, which act first.
        data: what the config names, where it is set up already.

    Returns:
        The content of ``result.json``; of many heads, see :func:`flowers_tl.training.head_grid.train_heads`, the folder's of all.

    Raises:
        UserError: if the config does not fit the data, the network or the folder.
        ProofError: if what happens is not what the strategy's table says.
    """
    validate_not_empty({"folder": folder, **config})
    if wants_many_heads(config):
        return train_heads(config, folder, data)
    checkpoint = None
    if config["ckpt_path"] is not None:
        checkpoint = find_checkpoint(config["ckpt_path"], folder)
        config = restore_config(config, checkpoint, given)
        if (done := read_finished(config, folder, longer="trainer.max_epochs" in given)) is not None:
            return done
    # Read before the folder is touched: a run that can't go on stays as it is.
    state = read_checkpoint(checkpoint) if checkpoint else None
    first_epoch = state["epoch"] + 1 if state else 0
    complete = state is not None and only_test_left(config, checkpoint, first_epoch, folder)
    validate_config(config)
    data = data or set_up_data(config)
    if state:
        validate_same_images(state, data, checkpoint)
    record = rank_zero_only.rank == 0
    continues = checkpoint and checkpoint.parent.parent
    with (
        processes_released(),
        quiet(),
        Interruption() as interruption,
        RunFolder(folder, yaml.safe_dump(config, sort_keys=False), record, continues, first_epoch, data.clock) as run,
    ):
        run.update(identify(config, data))  # early: a run that stops here is known when it is started again
        torch.manual_seed(derive_seed(config["seed"]))
        model = make_model(config, data.num_classes, data.class_names, data.class_weights)
        weights = initial_weights(config)
        load_weights(model.backbone, weights)
        if state:
            validate_same_model(state, model, first_epoch, checkpoint)
        if complete:  # else Lightning loads it
            model.load_state_dict(state["state_dict"])
        if config["compute"]["channels_last"]:
            model.to(memory_format=torch.channels_last)
        if config["compute"]["compile"]:
            model.compile()
        first_step = state["global_step"] if state else 0
        trainer = make_trainer(config, run, model, interruption, *callbacks, first_step=first_step)
        seen = with_frozen_prefix(config, data, model, trainer, first_epoch)
        run.update(describe_run(config, model, data, weights) | {"prefix": describe_prefix(seen)})
        if run.record:
            print_stages(model.stage_rows(), config["strategy"]["name"], config["backbone"]["name"])

        if model.strategy.head == "solved" and not state:
            solved = solve(model, seen, trainer, config["trainer"]["enable_progress_bar"], run.clock.timed)
            run.update({"solved_head": solved})
        prepare_features(seen, "train", "val")
        with run.clock.timed("fit"):
            if model.groups and not complete:
                trainer.fit(model, datamodule=seen, ckpt_path=checkpoint)
            val = final_val_scores(trainer, model, seen)
        if not model.groups and not complete:  # nothing was trained, so Lightning has kept nothing
            trainer.save_checkpoint(run.folder / "checkpoints" / "last.ckpt")
        proof = run.result.get("proof") if complete else freeze_check_summary(trainer)
        epochs = first_epoch if complete and model.groups else trainer.current_epoch
        run.update({"val": val, "epochs": epochs, "proof": proof})
        prepare_features(seen, "test")
        with run.clock.timed("test"):
            trainer.test(model, datamodule=seen, verbose=False)
            run.update({"test": scores(trainer, "test")})
            answers = collect_predictions(
                data, {split: find_callback(trainer, PredictionCollector).gathered(split) for split in ("val", "test")}
            )
            if run.record:
                answers.write(run.folder)
                if trainer.logger:
                    log_predictions(trainer.logger.experiment, answers, data.root)
            if config["test_best"]:
                with without_loggers(trainer):
                    run.update({"best": test_best(trainer, model, seen, run.folder / "checkpoints" / "best.ckpt")})
        log_hyperparameters(trainer, run.result)
    if run.record:
        print_outcome(run.result, run.folder)
    return run.result


def show_strategy(config: dict[str, Any]) -> None:
    """Print which stages would learn, how fast and from when on, without images, weights or a folder."""
    with torch.device("meta"):
        model = make_model(config, make_data(config).count_classes())
    print_stages(model.stage_rows(), config["strategy"]["name"], config["backbone"]["name"])
    log.info(", ".join(config[group]["name"] for group in ("optimizer", "scheduler", "regularisation")))


@contextmanager
def processes_released() -> Iterator[None]:
    """Leave no process group behind, nor the variables by which Lightning tells its helper processes who they are.

    With them in place the next job of a sweep would take itself for a helper, and wait for others for ever.
    """
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def solve(
    model: TransferClassifier,
    data: ImageDataModule | FeatureDataModule,
    trainer: L.Trainer,
    progress: bool,
    timed: Callable[[str], AbstractContextManager],
) -> dict[str, Any]:
    """Begin from the best head on the features as they are; return what ``result.json`` says of it.

    On several devices each process does the same: they are to begin from the same head.
    """

    def shown(items: Any, title: str) -> Any:
        return track(items, title, transient=True) if progress and trainer.is_global_zero else items

    # A mirrored flower is the same flower: as in the training of other strategies, the head is to learn that.
    if isinstance(data, FeatureDataModule):
        found = {"train": data.before_head("train", "centre", "mirrored"), "val": data.before_head("val", "centre")}
    else:
        with timed("prefix"):
            found = {
                split: compute_features(
                    model.backbone, shown(data.in_order(split), f"Features of {split}"), trainer.strategy.root_device,
                    mirrored=split == "train",
                )
                for split in ("train", "val")
            }  # fmt: skip
    with timed("solve"):
        best, solutions = solve_head(
            model.backbone, **found, class_weights=model.class_weights,
            progress=lambda decays: shown(decays, "Solving the head"),
        )  # fmt: skip
    model.enter_epoch(None)
    return best.to_dict() | {"candidates": [solution.to_dict() for solution in solutions]}


def freeze_check_summary(trainer: L.Trainer) -> dict[str, Any] | None:
    """What was proven of the run while it trained; None where nothing was trained, or nobody looked."""
    proof = find_callback(trainer, FreezeCheck)
    return proof.summary or None if proof else None


def scores(trainer: L.Trainer, split: str) -> dict[str, float | None]:
    """The split's last loss, accuracy and balanced accuracy; None where trainer.limit_* left nothing to measure."""
    metrics = trainer.callback_metrics
    names = ("accuracy", "balanced_accuracy", "loss")
    return {n: round(metrics[f"{split}/{n}"].item(), 6) if f"{split}/{n}" in metrics else None for n in names}


def final_val_scores(
    trainer: L.Trainer, model: TransferClassifier, data: L.LightningDataModule
) -> dict[str, float | None]:
    """Val scores of the final weights, measured now unless the last validation was after the last step."""
    if find_callback(trainer, History).validated_at != trainer.global_step:
        with without_loggers(trainer):
            trainer.validate(model, datamodule=data, verbose=False)
    return scores(trainer, "val")


def test_best(
    trainer: L.Trainer, model: TransferClassifier, data: L.LightningDataModule, path: Path
) -> dict[str, Any] | None:
    """Val and test scores of the checkpoint with the best val accuracy; None where no epoch was validated."""
    if not path.is_file():
        return None
    trainer.validate(model, datamodule=data, ckpt_path=path, verbose=False)
    val = scores(trainer, "val")
    trainer.test(model, datamodule=data, ckpt_path=path, verbose=False)
    return {"epoch": torch.load(path, weights_only=True)["epoch"], "val": val, "test": scores(trainer, "test")}

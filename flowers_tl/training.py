"""One run, from a plain config to its record: data, network, fit, test. Usable without Hydra."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from flowers_tl.callbacks import History, PictureGrid, ProgressBar
from flowers_tl.data.flowers import FlowersDataModule
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.errors import UserError, suggest
from flowers_tl.model.classifier import TransferClassifier
from flowers_tl.model.weights import load_weights
from flowers_tl.results.run import RunFolder, versions
from flowers_tl.results.tables import print_outcome, print_stages

# Remarks of Lightning that do not apply: frozen stages are meant to be in eval mode, its own use of PyTorch is its own.
for remark in (r"Found \d+ module\(s\) in eval mode", r"`isinstance\(treespec, LeafSpec\)` is deprecated"):
    warnings.filterwarnings("ignore", message=remark)
for name in ("lightning.pytorch", "lightning.fabric"):  # they print by themselves; the root logger would repeat it
    logging.getLogger(name).propagate = False
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.getMessage())

DATA = {module.name: module for module in (FlowersDataModule, SyntheticDataModule)}


def train(config: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """Train, test and record one run.

    Args:
        config: what ``flowers_tl/config.py`` describes, as plain Python with every key present.
        folder: where config.yaml, history.csv, result.json, the checkpoints and TensorBoard's events go.

    Returns:
        The content of ``result.json``.

    Raises:
        UserError: if the config does not fit the data, the network or the folder.
    """
    record = rank_zero_only.rank == 0
    with processes_released(), RunFolder(folder, yaml.safe_dump(config, sort_keys=False), record) as run:
        with torch.device("meta"):  # a strategy that does not fit is refused before anything is downloaded or drawn
            make_model(config, num_classes=2)
        trainer = make_trainer(config["trainer"], run)
        data = make_data(config)
        data.prepare_data()
        data.setup()
        torch.manual_seed(derive_seed(config["seed"]))
        model = make_model(config, data.num_classes, data.class_names)
        weights = None if model.strategy.weights == "random" else config["backbone"]["weights"]
        load_weights(model.backbone, weights)
        run.update(describe(config, model, data, weights))
        if run.record:
            print_stages(model.stage_rows(), config["strategy"]["name"], config["backbone"]["name"])

        with run.timed("fit"):
            trainer.fit(model, datamodule=data)
            val = final_val_scores(trainer, model, data)
        run.update({"val": val, "epochs": trainer.current_epoch})
        with run.timed("test"):
            trainer.test(model, datamodule=data, verbose=False)
        run.update({"test": scores(trainer, "test")})
        if config["test_best"]:
            with without_loggers(trainer):
                run.update({"best": test_best(trainer, model, data)})
        log_hyperparameters(trainer, run.result)
    if run.record:
        print_outcome(run.result, run.folder)
    return run.result


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


def make_data(config: dict[str, Any]) -> FlowersDataModule:
    """Build the data module that ``data.name`` names, with the other keys as its arguments."""
    arguments = dict(config["data"])
    name = arguments.pop("name")
    if name not in DATA:
        raise UserError(f"There is no data '{name}': {suggest(name, DATA)}.")
    return DATA[name](**arguments, seed=config["seed"])


def make_model(config: dict[str, Any], num_classes: int, class_names: list[str] | None = None) -> TransferClassifier:
    """Build the network that the config names, with random weights."""
    return TransferClassifier(
        backbone=config["backbone"]["name"],
        num_classes=num_classes,
        strategy=config["strategy"],
        class_names=class_names or [],
        seed=config["seed"],
    )


def make_trainer(arguments: dict[str, Any], run: RunFolder) -> L.Trainer:
    """Build Lightning's Trainer with what every run records and keeps: history, curves, best and last checkpoint."""
    if arguments["max_epochs"] < 1:
        raise UserError(f"trainer.max_epochs={arguments['max_epochs']} trains nothing: it must be at least 1.")
    if arguments["fast_dev_run"]:
        arguments = arguments | {"max_epochs": 1}  # Lightning runs one epoch; so it is recorded
    keep = {"dirpath": run.folder / "checkpoints", "enable_version_counter": False}
    callbacks = [
        History(run),
        PictureGrid(),
        ModelCheckpoint(**keep, filename="best", monitor="val/accuracy", mode="max"),
        # Without a monitor the newest stays: the weights of the very last epoch, which the test at the end is run with.
        ModelCheckpoint(**keep, filename="last", save_on_train_epoch_end=True),
    ]
    if arguments["enable_progress_bar"]:
        callbacks.append(ProgressBar())
    chosen = {name: value for name, value in arguments.items() if value is not None}
    try:
        return L.Trainer(
            **chosen,
            callbacks=callbacks,
            logger=TensorBoardLogger(run.folder, name="", version="", default_hp_metric=False),
            default_root_dir=run.folder,
            use_distributed_sampler=False,  # the data module deals the pictures out itself, none twice in val and test
        )
    except (ValueError, TypeError, RuntimeError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise UserError(f"Lightning's Trainer refuses the values under trainer: {error}") from error


def describe(
    config: dict[str, Any], model: TransferClassifier, data: FlowersDataModule, weights: str | None
) -> dict[str, Any]:
    """What ``result.json`` says of a run before it has trained."""
    return {
        "strategy": config["strategy"]["name"],
        "learning_rates": {group.name: group.lr for group, _ in model.parameters_by_group()},
        "backbone": config["backbone"]["name"],
        "weights": weights or "random",
        "seed": config["seed"],
        "epochs": config["trainer"]["max_epochs"],
        "parameters": model.parameter_counts,
        "data": {"name": data.name} | data.sizes,
        "versions": versions(),
    }


def scores(trainer: L.Trainer, split: str) -> dict[str, float | None]:
    """The split's last loss, accuracy and balanced accuracy; None where trainer.limit_* left nothing to measure."""
    metrics = trainer.callback_metrics
    names = ("accuracy", "balanced_accuracy", "loss")
    return {n: round(metrics[f"{split}/{n}"].item(), 6) if f"{split}/{n}" in metrics else None for n in names}


def final_val_scores(trainer: L.Trainer, model: TransferClassifier, data: FlowersDataModule) -> dict[str, float | None]:
    """Val scores of the final weights, measured now unless the last validation was after the last step."""
    history = next(callback for callback in trainer.callbacks if isinstance(callback, History))
    if history.validated_at != trainer.global_step:
        with without_loggers(trainer):
            trainer.validate(model, datamodule=data, verbose=False)
    return scores(trainer, "val")


@contextmanager
def without_loggers(trainer: L.Trainer) -> Iterator[None]:
    """Measure something beside the fit: the curves are the fit's alone."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def test_best(trainer: L.Trainer, model: TransferClassifier, data: FlowersDataModule) -> dict[str, Any] | None:
    """Val and test scores of the checkpoint with the best val accuracy; None where no epoch was validated."""
    path = next((c.best_model_path for c in trainer.checkpoint_callbacks if c.monitor), "")
    if not path:
        return None
    trainer.validate(model, datamodule=data, ckpt_path=path, verbose=False)
    val = scores(trainer, "val")
    trainer.test(model, datamodule=data, ckpt_path=path, verbose=False)
    return {"epoch": torch.load(path, weights_only=True)["epoch"], "val": val, "test": scores(trainer, "test")}


def log_hyperparameters(trainer: L.Trainer, result: dict[str, Any]) -> None:
    """Fill TensorBoard's HPARAMS page: once, at the end, with the final metrics, or it refuses them."""
    chosen = {key: result[key] for key in ("strategy", "backbone", "weights", "seed", "epochs")}
    chosen["data"] = result["data"]["name"]
    chosen |= {f"lr_{name}": rate for name, rate in result["learning_rates"].items()}
    found = {f"final/{split}_{name}": value for split in ("val", "test") for name, value in result[split].items()}
    for logger in trainer.loggers:  # none in a fast_dev_run
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(chosen, {name: value for name, value in found.items() if value is not None})
            logger.finalize("success")

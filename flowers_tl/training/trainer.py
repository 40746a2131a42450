"""Lightning's Trainer as every run uses it: what it records and keeps, and how devices share the work."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.metrics import EPOCH_METRICS
from flowers_tl.results.scores import read_monitor
from flowers_tl.runs.record import RunFolder
from flowers_tl.training.callbacks import (
    GroupCurves,
    ImageGrid,
    KeepBest,
    MovingAverage,
    PredictionCollector,
    Recorder,
    find_callback,
)
from flowers_tl.training.divergence import DivergenceCheck
from flowers_tl.training.factory import has_validation
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.training.loggers import make_loggers
from flowers_tl.training.progress import EpochLines, ProgressBar
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write
from flowers_tl.utils.notes import in_terminal

# Remarks of Lightning that do not apply: frozen stages are meant to be in eval mode,
# mixing belongs to the module, and how Lightning uses PyTorch is not for the user.
SILENCED_WARNINGS = (
    r"Found \d+ module\(s\) in eval mode",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"You have overridden `on_after_batch_transfer`",
    r"Checkpoint directory .* exists and is not empty",
    r"The dirpath has changed",
    # None is needed where batches are made faster without.
    r"The '\w+' does not have many workers",
    # These values are the same in all processes.
    r"It is recommended to use `self.log\('(lr|grad_norm|distance)/",
)


@contextmanager
def quiet_lightning(level: int = logging.INFO) -> Iterator[None]:
    """Leave out Lightning's remarks that do not apply, and restore at the end what a run sets for the whole process.

    Args:
        level: of Lightning's messages, below which none is shown.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    tips = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = [(logger, logger.propagate, logger.level) for logger in loggers]
    memory, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warn = torch.is_deterministic_algorithms_warn_only_enabled()

    hook = threading.excepthook

    def is_no_tip(record: logging.LogRecord) -> bool:
        return "Tip:" not in record.getMessage()

    # With deterministic algorithms PyTorch also fills all memory that it takes, which costs as much as a layer does, and
    # helps only against operations that read what they have not written. None here does.
    torch.utils.deterministic.fill_uninitialized_memory = False
    tips.addFilter(is_no_tip)
    # TensorBoard's writer, which lacks room, raises its error in this thread too.
    threading.excepthook = lambda error: None if isinstance(error.exc_value, OSError) else hook(error)
    for logger in loggers:
        # They print by themselves; the root logger would repeat it.
        logger.propagate = False
        logger.setLevel(max(level, logger.level))
    try:
        with warnings.catch_warnings():
            for remark in SILENCED_WARNINGS:
                warnings.filterwarnings("ignore", message=remark)
            yield
    finally:
        for logger, propagate, logger_level in before:
            logger.propagate = propagate
            logger.setLevel(logger_level)
        tips.removeFilter(is_no_tip)
        threading.excepthook = hook
        torch.utils.deterministic.fill_uninitialized_memory = memory
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warn)
        torch.backends.cudnn.benchmark = benchmark


def make_trainer(
    config: dict[str, Any],
    run: RunFolder,
    model: TransferClassifier,
    *callbacks: Callback,
    first_step: int | None = None,
) -> Trainer:
    """Build the Trainer with what every run records and keeps: history, curves, proof, best and last checkpoint.

    Args:
        config: the run's config; ``trainer``, ``regularisation`` and ``proof`` matter here.
        run: where everything goes.
        model: whose strategy says whether stages begin late.
        callbacks: further ones, which act after :class:`DivergenceCheck` and before all others.
        first_step: a run that goes on takes this as its first step: later ones that a killed run had written to
            TensorBoard are taken back.
    """
    arguments = check_arguments(config["trainer"], any(group.from_epoch for group in model.groups))
    if not has_validation(config):
        arguments["limit_val_batches"] = 0
    arguments["enable_progress_bar"] &= in_terminal()
    plugins = arguments.pop("plugins", [])
    return Trainer(
        **arguments,
        plugins=[*(plugins if isinstance(plugins, list | tuple) else [plugins]), AtomicCheckpoints()],
        callbacks=[DivergenceCheck(run.folder / "checkpoints"), *callbacks, *make_callbacks(config, run)],
        logger=make_loggers(config, run, first_step),
        default_root_dir=run.folder,
        # The data module deals the images out itself, none twice in val and test.
        use_distributed_sampler=False,
    )


def check_arguments(arguments: dict[str, Any], late: bool) -> dict[str, Any]:
    """Arguments for Trainer that are set, made consistent; ``late`` says that a stage begins after the first epoch."""
    if arguments["fast_dev_run"]:
        # Lightning runs one epoch; so it is recorded.
        arguments = arguments | {"max_epochs": 1}
    if "spawn" in str(arguments["strategy"]):
        raise UserError(f"trainer.strategy={arguments['strategy']} trains in processes that write no record: use ddp.")
    if late and str(arguments["devices"]) != "1" and arguments["strategy"] in ("auto", "ddp"):
        # DDP would wait for the gradients of stages that are still frozen.
        arguments = arguments | {"strategy": "ddp_find_unused_parameters_true"}
    return {name: value for name, value in arguments.items() if value is not None}


def make_callbacks(config: dict[str, Any], run: RunFolder) -> Iterator[Callback]:
    """In the order in which they act at an epoch's end: average, check, log, record, and only then keep."""
    options = config["regularisation"]
    best = {"monitor": config["monitor"], "mode": "min" if read_monitor(config["monitor"]).sign < 0 else "max"}
    if (decay := options["ema"]) is not None:
        yield MovingAverage(decay)
    if config["proof"]:
        yield FreezeCheck()
    yield GroupCurves()
    yield Recorder(config, run)
    yield PredictionCollector(config["monitor"])
    yield ImageGrid()
    if (patience := options["early_stopping"]) is not None:
        yield EarlyStopping(**best, patience=patience, check_on_train_epoch_end=False)
    keep = {"dirpath": run.folder / "checkpoints", "enable_version_counter": False}
    if has_validation(config):
        yield KeepBest(**keep, filename="best", **best)
    # Without a monitor the newest stays: the weights of the very last epoch, which the test at the end is run with.
    yield ModelCheckpoint(**keep, filename="last", save_on_train_epoch_end=True)
    if config["trainer"]["enable_progress_bar"]:
        yield ProgressBar() if in_terminal() else EpochLines()


class AtomicCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its place and rename it, so that a kill leaves the old one or the new one.

    Lightning makes two copies in memory first, and takes twice as long. Only the run's checkpoints are there to be
    overwritten: see FILES in runs/record.py. An epoch whose weights are the best so far is written once, under both names:
    neither file is ever changed, only replaced.
    """

    # What was written last: the moment of training with the kinds of its content, and the file.
    written: tuple[Any, Path] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        moment, path = [checkpoint["epoch"], checkpoint["global_step"], *checkpoint], Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as beside:
            # To rename one of two links to the other does nothing, so a file is not linked to itself.
            if self.written and self.written[0] == moment and self.written[1] != path:
                # Some file systems have no links.
                with suppress(OSError):
                    os.link(self.written[1], beside)
            if not beside.exists():
                torch.save(checkpoint, beside)
        self.written = moment, path


@contextmanager
def processes_released() -> Iterator[None]:
    """Leave no process group behind, and restore the environment, in which Lightning says which process this is.

    Otherwise the next job of a sweep would take itself for a helper process, and wait for others for ever.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def without_loggers(trainer: Trainer) -> Iterator[None]:
    """Measure something beside the fit: the curves are the fit's alone."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers


def last_scores(trainer: Trainer, split: str) -> dict[str, float | None]:
    """The split's last metrics and loss; None where trainer.limit_* left nothing to measure."""
    last, monitored = trainer.callback_metrics, find_callback(trainer, PredictionCollector).metric.name
    return {
        name: round(last[f"{split}/{name}"].item(), 6) if f"{split}/{name}" in last else None
        for name in dict.fromkeys([*EPOCH_METRICS, *({monitored} - {"loss"}), "loss"])
    }

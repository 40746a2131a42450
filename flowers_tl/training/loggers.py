"""Where a run's curves, hyper-parameters and final scores go: TensorBoard by default, and Lightning's other loggers."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from flowers_tl.runs.record import RunFolder
from flowers_tl.training.tensorboard import TensorBoard
from flowers_tl.utils.errors import UserError, needs_extra, suggest

PROJECT = "flowers_tl"


class TrackioLogger(Logger):
    """A run of Trackio, for which Lightning has no logger; ``version`` is its number, under which it goes on."""

    # Lightning's are abstract properties.
    name = version = ""

    def __init__(self, name: str, version: str) -> None:
        super().__init__()
        self.name, self.version = f"{name}-{version}", version

    @cached_property
    def experiment(self) -> Any:
        return import_module("trackio").init(project=PROJECT, name=self.name, resume="allow", embed=False)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log({name: float(value) for name, value in metrics.items()}, step=step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.experiment.config.update({name: str(value) for name, value in dict(params).items()})


# A row has the package (there is an extra of its name) and a function that makes the logger. The function gets the run's folder, the
# folder of all runs, the run's name, a number by which the run is continued, and the first step that TensorBoard writes anew. For a
# run that is continued, csv and mlflow begin a new version.
LOGGERS: dict[str, tuple[str | None, Callable[[Path, Path, str, str, int | None], Logger]]] = {
    "tensorboard": (None, lambda folder, runs, name, number, step: TensorBoard(folder, step)),
    "csv": (None, lambda folder, *_: CSVLogger(folder, "csv")),
    "wandb": (
        "wandb",
        lambda folder, runs, name, number, _: WandbLogger(name, folder, id=number, project=PROJECT, resume="allow"),
    ),
    "mlflow": (
        "mlflow",
        lambda folder, runs, name, *_: MLFlowLogger(
            PROJECT, name, os.getenv("MLFLOW_TRACKING_URI", f"sqlite:///{runs}/mlflow.db")
        ),
    ),
    "trackio": ("trackio", lambda folder, runs, name, number, _: TrackioLogger(name, number)),
}


def logger_names(names: str) -> list[str]:
    """The names in ``logger``, joined by ``+``. Raises UserError for one that is unknown or whose package is missing."""
    selected = [name for name in dict.fromkeys(names.split("+")) if names != "none"]
    for name in selected:
        if name not in LOGGERS:
            raise UserError(f"logger={name} is unknown: {suggest(name, ['none', *LOGGERS])}.")
        if package := LOGGERS[name][0]:
            with needs_extra(package, f"logger={name} needs {package}", package):
                import_module(package)
    return selected


def make_loggers(config: Mapping[str, Any], run: RunFolder, first_step: int | None = None) -> list[Logger]:
    """The loggers that the config names, of the run in a folder, see :func:`flowers_tl.training.trainer.make_trainer`."""
    name = f"{config['strategy']['name']}_seed{config['seed']}"
    # A run that is repeated in another folder is another one, which continues no curves.
    number = f"{run.result.get('id')}-{hashlib.sha256(str(run.folder.resolve()).encode()).hexdigest()[:6]}"
    place = run.folder, Path(config["runs"]).absolute(), name, number, first_step
    return [LOGGERS[logger][1](*place) for logger in logger_names(config["logger"])]


@contextmanager
def finish_loggers() -> Iterator[None]:
    """Leave no run of wandb and Trackio open: the next run of this process would be written into it."""
    try:
        yield
    finally:
        for name in {"wandb", "trackio"} & sys.modules.keys():
            # Trackio raises where none is open.
            with suppress(RuntimeError):
                sys.modules[name].finish()

"""Commands of the campaign's tries: in processes that have torch already, with tiny runs on drawn flowers."""

import atexit
import functools
import os
import tempfile
from pathlib import Path

from tests.command_server import CommandServer, Finished, Running

# Of the environment: what would change what a command does.
NOT_TAKEN = ("HYDRA_FULL_ERROR", "FLOWERS_TL_CACHE", "FLOWERS_TL_RUNS")
# A run of seconds.
TINY = {
    "data": "synthetic",
    "data.num_classes": 3,
    "data.train_per_class": 4,
    "data.val_per_class": 2,
    "data.test_per_class": 3,
    "data.image_size": 32,
    "backbone.weights": "null",
    "trainer.max_epochs": 2,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
}


def tiny(**keys: object) -> list[str]:
    """Overrides for a run of seconds, and more by key; two underscores stand for a dot."""
    keys = (
        TINY | {"data.root": str(scratch() / "drawn")} | {key.replace("__", "."): value for key, value in keys.items()}
    )
    return [f"{key}={value}" for key, value in keys.items()]


@functools.cache
def scratch() -> Path:
    """A folder for what tries share, which is removed at the end."""
    kept = tempfile.TemporaryDirectory(prefix="campaign-")
    atexit.register(kept.cleanup)
    return Path(kept.name)


@functools.cache
def server(*modules: str) -> CommandServer:
    """The process that has torch, and these modules besides; it runs one command at a time."""
    started = CommandServer(*modules)
    atexit.register(started.close)
    return started


def start(name: str, *words: str, cwd: Path, **environment: str) -> Running:
    """Start ``python -m flowers_tl.NAME WORDS`` in a process group of its own; the cache is not the user's.

    Its ``pid`` is the group's too; ``wait()`` returns exit code (negative: the signal), stdout, stderr and the peak of its
    memory in MB. Wait before the next one starts.
    """
    return server().start(f"flowers_tl.{name}", words, cwd, environment_of(**environment))


def run(name: str, *words: str, cwd: Path, **environment: str) -> Finished:
    """Run a command to its end, see :func:`start`."""
    return start(name, *words, cwd=cwd, **environment).wait()


def run_loaded(name: str, *words: str, cwd: Path, **environment: str) -> Finished:
    """As :func:`run`, but the package is imported already: seconds less, for tries that don't depend on its import."""
    loaded = server("flowers_tl.training.run_once", "flowers_tl.inference.predictor", "flowers_tl.report.compare_runs")
    return loaded.start(f"flowers_tl.{name}", words, cwd, environment_of(**environment)).wait()


def environment_of(**more: str) -> dict[str, str]:
    """The environment of a command: this process's, without what would change what the command does."""
    own = {key: value for key, value in os.environ.items() if key not in NOT_TAKEN}
    return own | {"XDG_CACHE_HOME": str(scratch() / "cache"), "OMP_NUM_THREADS": "1"} | more

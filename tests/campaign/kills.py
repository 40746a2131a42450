"""SIGKILL at any moment, and again: the run goes on by the same command, and ends as one that was never killed.

Half of the moments are changes of files (a run is killed before its n-th one, see killable.py), so that each gap between two
files is met; the others are drawn from the run's CPU time, which other work on the machine does not change. Some runs have no
cache and no drawn images yet when they are killed.
"""

import functools
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from flowers_tl.config.schema import CONF
from tests.campaign import Try
from tests.campaign.commands import scratch, server, tiny
from tests.campaign.ends import differences, read_end
from tests.command_server import Finished, Running

PROMISE = (
    "When a run that was killed at any moment continues, it ends with the same weights, scores, history, freeze check and TensorBoard "
    "curves, bit for bit on a CPU"
)
TRIES_OF_A_KIND = 20
SMALL = {"backbone": "squeezenet1_1"}
# With BatchNorm.
LARGER = {"backbone": "mobilenet_v3_small"}
KINDS: dict[str, dict[str, object]] = {
    "feature_extraction": {"strategy": "feature_extraction", "trainer.max_epochs": 4, "test_best": "true", **SMALL},
    "fine_tuning": {"strategy": "fine_tuning", "trainer.max_epochs": 3, "test_best": "true", **SMALL},
    "ema": {"strategy": "fine_tuning", "regularisation": "ema", "trainer.max_epochs": 3, **LARGER},
    "everything": {
        "strategy": "full_fine_tuning", "optimizer": "sgd", "scheduler": "cosine", "regularisation.mixup": 0.2,
        "regularisation.cutmix": 1.0, "regularisation.ema": 0.9, "trainer.gradient_clip_val": 1.0,
        "data.augmentation": "trivial_augment", "trainer.max_epochs": 3, **SMALL,
    },
    "gradual_unfreezing": {"strategy": "gradual_unfreezing", "trainer.max_epochs": 7, **SMALL},
    "linear_probe": {"strategy": "linear_probe", **SMALL},
    "lp_ft": {"strategy": "lp_ft", "trainer.max_epochs": 3, "scheduler": "onecycle", **SMALL},
    "early_stopping": {"strategy": "norm_tuning", "regularisation": "early_stopping", "regularisation.early_stopping": 1,
                       "trainer.max_epochs": 4, **LARGER},
    "many_heads": {"strategy": "feature_extraction", "heads.lr": "[0.01,0.03,0.1]", **SMALL},
    "many_solved_heads": {"strategy": "linear_probe", "heads.weight_decay": "[0.001,0.1]", **SMALL},
}  # fmt: skip


class Whole(NamedTuple):
    """A run that was not killed: what it left, how many changes of files it made, and its CPU time."""

    end: dict[str, Any]
    changes: int
    seconds: float


def tries(long: bool) -> Iterator[Try]:
    """Twenty of each kind; a short campaign makes one of three kinds."""
    for kind in KINDS if long else ("fine_tuning", "linear_probe", "many_heads"):
        for number in range(TRIES_OF_A_KIND if long else 1):
            yield Try(f"{kind} {number}", partial(kill_and_compare, kind, number), slow=True)


def kill_and_compare(kind: str, number: int, folder: Path) -> str:
    """Kill a run one to three times, start it again each time, and compare its end with an undisturbed run's."""
    draw, whole = random.Random(f"{kind} {number}"), undisturbed(kind)
    fresh, as_command = number % 4 == 3, number % 5 == 4
    told, kills = [], draw.choice([1, 1, 2, 3])
    while len(told) < kills:
        by_change = draw.random() < 0.5
        moment = draw.randint(1, whole.changes) if by_change else draw.uniform(0, whole.seconds)
        running = start(kind, folder, moment if by_change else 0, fresh, as_command)
        while not by_change and running.cpu_seconds() < moment:
            time.sleep(0.001)
        if not by_change:
            running.kill()
        done = running.wait()
        if done.returncode == 0 and told:
            # What was left to do was done before its moment came.
            break
        if done.returncode == 0:
            shutil.rmtree(folder / "runs")
            continue
        assert done.returncode == -signal.SIGKILL, f"It ended with {done.returncode}: {last_line(done)}"
        told.append(f"file change {moment}" if by_change else f"{moment:.3f} s of CPU time")
    done = start(kind, folder, 0, fresh, as_command).wait()
    where = f"killed at {', then '.join(told)}"
    assert done.returncode == 0, f"{where}: it could not go on: {last_line(done)}"
    wrong = differences(whole.end, read_end(folder / "runs" / "run"))
    assert not wrong, f"{where}: {len(wrong)} differences: {'; '.join(wrong[:5])}"
    return where


def last_line(done: Finished) -> str:
    """What a command said last."""
    return (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]


@functools.cache
def undisturbed(kind: str) -> Whole:
    """The run of a kind that is never killed: made twice, since the first one draws the images."""
    for name in ("first", "whole"):
        folder = scratch() / "undisturbed" / kind / name
        folder.mkdir(parents=True)
        done = start(kind, folder, 0, fresh=False, as_command=False).wait()
        assert done.returncode == 0, last_line(done)
    seconds, changes = done.stderr.split()[-2:]
    return Whole(read_end(folder / "runs" / "run"), int(changes), float(seconds))


def start(kind: str, folder: Path, change: int, fresh: bool, as_command: bool) -> Running:
    """Start a run in ``folder/runs/run``, or go on with it; it kills itself before this change of a file, of 0 never.

    Where ``fresh``, images and cache are the folder's own. ``as_command``: with all that Hydra does.
    """
    place = folder if fresh else scratch()
    keys = KINDS[kind] | {"runs": folder / "runs", "data.root": place / "drawn", "cache.dir": place / "kept"}
    words = tiny(**keys)
    if as_command:
        words = ["train", *words, f"hydra.run.dir={folder / 'runs' / 'run'}"]
    else:
        config = folder / "config.json"
        config.write_text(json.dumps(composed(tuple(words))))
        words = [str(config), str(folder / "runs" / "run")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOWERS_TL_")}
    environment |= {"OMP_NUM_THREADS": "1"}
    return server("flowers_tl.training.run_once", "flowers_tl.training.head_grid").start(
        "tests.campaign.killable", [str(change), *words], folder, environment
    )


@functools.cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    """The config of these words, as plain Python."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(words)), resolve=True, throw_on_missing=True)

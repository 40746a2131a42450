"""Workers under fork, forkserver and spawn."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from flowers_tl.config.schema import CONF
from flowers_tl.training.run import train as train_run
from tests.campaign import Try
from tests.campaign.commands import scratch, tiny

PROMISE = "Workers give the same bits however they are started, and end with their run"
# What workers do: cut out of images that are kept, change these at random, decode images.
WORK = {
    "crops": {},
    "augmentation": {"data.augmentation": "trivial_augment"},
    "decoding": {"cache.enabled": "false"},
}
# Trains until it is killed.
PROGRAM = """
import multiprocessing, sys
from tests.campaign.start_methods import train
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    train(sys.argv[2], {"cache.enabled": "false", "data.num_workers": 2, "trainer.max_epochs": 10000})
"""


def tries(long: bool) -> Iterator[Try]:
    """All work under all methods, and a kill under each; a short campaign makes one of both."""
    for method in multiprocessing.get_all_start_methods() if long else ("forkserver",):
        for name in WORK if long else ("augmentation",):
            yield Try(f"{method}: {name}", partial(compare, method, name), slow=True, seconds=600)
        yield Try(f"{method}: SIGKILL", partial(kill, method), slow=True, seconds=600)


def train(folder: str | Path, keys: dict[str, object]) -> str:
    """Train a whole network on drawn flowers; return the hash of all its weights."""
    own = {"strategy": "full_fine_tuning", "backbone": "squeezenet1_1", "cache.dir": str(scratch() / "cache")}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", overrides=tiny(**own | keys)), resolve=True)
    train_run(config, folder)
    state = torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def compare(method: str, name: str, folder: Path) -> None:
    """A run with a worker ends with the weights of one without."""
    alone = train(folder / "alone", WORK[name] | {"data.num_workers": 0})
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        with_worker = train(folder / "worker", WORK[name] | {"data.num_workers": 1})
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert with_worker == alone, f"A worker under {method} leads to other weights."


def kill(method: str, folder: Path) -> None:
    """A run that is killed leaves no worker behind."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, str(program), method, str(folder / "run")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(words, env=environment, start_new_session=True, **quiet)
    try:
        until((folder / "run" / "history.csv").exists, 300, "The run had finished no epoch")
        assert len(session(run.pid)) > 2, "The run had no workers."
        run.kill()
        run.wait()
        until(lambda: not session(run.pid), 20, "Workers of a killed run lived on")
    finally:
        for process in session(run.pid):
            os.kill(process, signal.SIGKILL)
        run.wait()


def session(leader: int) -> list[int]:
    """The processes of a session that are alive."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(leader)], capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(process) for process, state in rows if not state.startswith("Z")]


def until(holds: Callable[[], bool], seconds: float, sentence: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{sentence} after {seconds} s."
        time.sleep(0.1)

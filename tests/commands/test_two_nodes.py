"""Two nodes by torchrun, on one machine: switched off, or one of them lost, they go on to the same end."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.campaign.ends import differences, read_end

EPOCHS = 5
KEYS = {"strategy": "full_fine_tuning", "trainer.num_nodes": 2, "trainer.max_epochs": EPOCHS, "data.batch_size": 8}


@pytest.fixture
def nodes(tiny, tmp_path):
    """Start two nodes that make the run in tmp_path/NAME; what still runs at the end is killed."""
    started = []

    def start(name, *words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        both = []
        for rank in range(2):
            launch = (
                f"--nnodes=2 --nproc-per-node=1 --node-rank={rank} --master-addr=127.0.0.1 --master-port={port}".split()
            )
            module = ["-m", "flowers_tl.train", *words, f"hydra.run.dir={tmp_path / name}"]
            command = [sys.executable, "-m", "torch.distributed.run", *launch, *module]
            with open(tmp_path / f"{name}_{rank}.log", "a") as log:
                both.append(
                    subprocess.Popen(
                        command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
                    )
                )
        started.extend(both)
        return both

    yield start
    for node in started:
        switch_off(node)


def switch_off(node: subprocess.Popen) -> None:
    """Kill a node, the launcher first, and all that it has started."""
    pids = [node.pid] if node.poll() is None else []
    for pid in pids:
        # Read before it is killed; what it starts later is nothing, for a stopped process starts none.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        with suppress(FileNotFoundError):
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def wait_for_epochs(folder: Path, epochs: int, both: list[subprocess.Popen]) -> None:
    """Wait until so many epochs are in the record, and a checkpoint is there to go on from."""
    rows = -1
    while not (rows >= epochs and (folder / "checkpoints" / "last.ckpt").is_file()) and all(
        node.poll() is None for node in both
    ):
        with suppress(FileNotFoundError), open(folder / "history.csv", newline="") as file:
            rows = len(list(csv.DictReader(file)))
        time.sleep(0.02)
    assert epochs <= rows < EPOCHS, f"The nodes ended with {rows} epochs, before they could be killed."


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a node in /proc")
def test_two_nodes_go_on_after_a_kill_and_after_one_is_lost(nodes, tiny, tmp_path):
    words, folder = tiny(**KEYS), tmp_path / "killed"
    whole = nodes("whole", *words)
    assert [node.wait(300) for node in whole] == [0, 0], (tmp_path / "whole_0.log").read_text()[-3000:]

    both = nodes("killed", *words)
    wait_for_epochs(folder, 1, both)
    for node in both:
        switch_off(node)
    assert json.loads((folder / "result.json").read_text())["status"] == "running"

    both = nodes("killed", "ckpt_path=last")
    wait_for_epochs(folder, 3, both)
    switch_off(both[1])
    # The other one does not wait for it for ever.
    assert both[0].wait(120) != 0

    again = nodes("killed", "ckpt_path=last")
    assert [node.wait(300) for node in again] == [0, 0], (tmp_path / "killed_0.log").read_text()[-3000:]
    assert not differences(read_end(tmp_path / "whole"), read_end(folder))

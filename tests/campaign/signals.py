"""SIGTERM and SIGINT at any moment, on one and on two devices; SIGKILL of a process that others were started by."""

import contextlib
import functools
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.campaign import Try
from tests.campaign.commands import run, scratch, start, tiny

PROMISE = "A run that is told to stop ends within 30 s, with a sentence, a status and its exit code"
# Environment variable by which all processes of a try are known, whatever group they are in.
MARK = "CAMPAIGN_TRY"
SWEEP = ["-m", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2"]


@functools.cache
def finished() -> Path:
    """A finished run, for commands that need one."""
    folder = scratch() / "finished"
    done = run("train", *tiny(strategy="fine_tuning"), f"hydra.run.dir={folder}", cwd=scratch())
    assert done.returncode == 0, done.stderr
    return folder


def command(kind: str) -> tuple[str, list[str]]:
    """Name and words of the command that is interrupted."""
    lines: dict[str, Callable[[], list[str]]] = {
        "train": lambda: ["train", *tiny(strategy="fine_tuning", test_best="true")],
        "solve": lambda: ["train", *tiny(strategy="linear_probe")],
        "heads": lambda: ["train", *tiny(**{"heads.lr": "[1e-3,1e-2]"})],
        "workers": lambda: ["train", *tiny(strategy="full_fine_tuning", data__num_workers=2)],
        "evaluate": lambda: ["evaluate", f"ckpt={finished()}"],
        "export": lambda: ["export", f"ckpt={finished()}", "out=exported", "formats=safetensors,torch"],
        "search": lambda: ["search", *tiny(strategy="feature_extraction"), "optimizer.weight_decay=0,1e-4", "trials=2"],
        "sweep": lambda: ["train", *SWEEP, *tiny(seed="0,1,2")],
        "two devices": lambda: ["train", *tiny(strategy="fine_tuning", trainer__devices=2, trainer__max_epochs=6)],
    }
    name, *words = lines[kind]()
    return name, words


@functools.cache
def length(kind: str) -> float:
    """Seconds that the command takes from its first import to its end."""
    folder = scratch() / f"length of {kind}"
    folder.mkdir()
    name, words = command(kind)
    running = start(name, *words, cwd=folder)
    wait_until(lambda: listens(running.pid))
    began = time.monotonic()
    done = running.wait()
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    """Wait for a state."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.01)


def listens(pid: int) -> bool:
    """Whether a process handles SIGTERM: Python has begun to read the package, or the process is at its end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    (caught,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught & 1 << signal.SIGTERM - 1)


def processes(mark: str, group: int) -> list[str]:
    """The command lines of a try's living processes: forks are in the first one's group, commands have its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            # A process that has ended has none.
            words = (folder / "cmdline").read_text().replace("\0", " ")
            if words and (marked or os.getpgid(int(folder.name)) == group):
                found.append(words)
        except OSError:
            continue
    return found


def statuses(folder: Path) -> dict[str, str]:
    """The status of each run below a folder."""
    files = folder.rglob("result.json")
    return {str(file.parent.relative_to(folder)): json.loads(file.read_text())["status"] for file in files}


def interrupt(kind: str, number: signal.Signals, seed: str, folder: Path) -> str:
    """Send a signal at a random moment: to the process, or to all of a run on two devices, as schedulers do."""
    name, words = command(kind)
    moment = random.Random(seed).random() * length(kind)
    for attempt in itertools.count():
        within = folder / str(attempt)
        within.mkdir()
        running = start(name, *words, cwd=within, **{MARK: str(folder)})
        wait_until(lambda pid=running.pid: listens(pid))
        time.sleep(moment)
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if kind == "two devices" else os.kill)(running.pid, number)
        done = running.wait()
        took = time.monotonic() - began
        if done.returncode != 0:
            break
        # It was faster this time.
        moment /= 2
    said = f"{moment:.2f} s after its beginning, code {done.returncode}, {statuses(within)}: {done.stderr}"
    assert done.returncode == 128 + number, said
    assert done.stderr.startswith("Error: interrupted") or "\nError: interrupted" in done.stderr, said
    assert "Traceback" not in done.stderr, said
    assert "running" not in statuses(within).values(), said
    assert took < 30, f"It took {took:.0f} s. {said}"
    no_process_left(str(folder), running.pid)
    return f"{moment:.2f} s after its beginning, ended in {took:.2f} s, {sorted(statuses(within).values())}"


def orphan(kind: str, seed: str, folder: Path) -> str:
    """Kill the process that was started, and no other, once those that it starts are at work."""
    name, words = command(kind)
    moment = random.Random(seed).random() * length(kind) / 2
    running = start(name, *words, cwd=folder, **{MARK: str(folder)})
    # A data loader's workers come late.
    wait_until(lambda: len(processes(str(folder), running.pid)) > 1)
    time.sleep(moment)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    return no_process_left(str(folder), running.pid)


def no_process_left(mark: str, group: int) -> str:
    """Raise AssertionError if 10 s later a process of the try still lives."""
    began = time.monotonic()
    while left := processes(mark, group):
        assert time.monotonic() < began + 10, f"Left behind: {left}"
        time.sleep(0.1)
    return f"no process left after {time.monotonic() - began:.1f} s"


def tries(long: bool) -> Iterator[Try]:
    """60 interruptions, every second one by SIGINT, and 9 orphans; a few where ``long`` is false."""
    counts = {"train": 12, "solve": 6, "heads": 6, "workers": 6, "evaluate": 4, "export": 4, "search": 4, "sweep": 6}
    for kind, count in (counts | {"two devices": 12} if long else {"train": 2, "two devices": 1}).items():
        for k in range(count):
            number = (signal.SIGTERM, signal.SIGINT)[k % 2]
            name = f"{kind}, {number.name} {k // 2}"
            yield Try(name, partial(interrupt, kind, number, name), slow=True)
    for kind in ("sweep", "two devices", "workers"):
        for k in range(3 if long else 1):
            name = f"{kind}, SIGKILL of the first process {k}"
            yield Try(name, partial(orphan, kind, name), slow=True)

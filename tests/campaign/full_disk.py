"""Disks without space: each command that writes meets one, and goes on by the same words once there is room.

The disk is a tmpfs where this process may mount one. Elsewhere no file of the command may be longer than the room, which the
operating system refuses with another error number, and nothing is free at all where the room is 0.
"""

import functools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from flowers_tl.data.synthetic import Species, draw_flower
from tests.campaign import Try
from tests.campaign.commands import environment_of, run, scratch, start, tiny

PROMISE = "A full disk ends in a sentence that names the file, and leaves no half file"
SMALL = {"backbone": "squeezenet1_1", "strategy": "fine_tuning"}
RUN = ("train", *tiny(**SMALL, force="true"), "hydra.run.dir={disk}/run")
# What is tried: the free bytes, and the command; {disk} is the full one, {run} a finished run.
FULL = {
    "train, nothing free": (0, RUN),
    "train, 8 kB free": (8, RUN),
    "train, 200 kB free": (200, RUN),
    "train, 4 MB free": (4_000, RUN),
    "train, cache": (20, ("train", *tiny(**SMALL, force="true"), "hydra.run.dir={folder}/run", "cache.dir={disk}/cache")),
    "train, drawn images": (
        20,
        ("train", *tiny(**SMALL, data__root="{disk}/drawn", data__first_species=7), "hydra.run.dir={folder}/run"),
    ),
    "train, many heads": (30, ("train", *tiny(backbone="squeezenet1_1", heads__lr="[0.1,0.2]"), "hydra.run.dir={disk}/run")),
    "evaluate, nothing free": (0, ("evaluate", "ckpt={run}", "out={disk}/evaluated")),
    "evaluate, 12 kB free": (12, ("evaluate", "ckpt={run}", "out={disk}/evaluated")),
    "predict, figure": (12, ("predict", "ckpt={run}", "images={image}", "figure={disk}/a.png")),
    "explain": (12, ("explain", "ckpt={run}", "images={image}", "figure={disk}/a.pdf")),
    "export, ONNX": (400, ("export", "ckpt={run}", "out={disk}/exported", "formats=onnx")),
    "export, torch": (400, ("export", "ckpt={run}", "out={disk}/exported", "formats=torch")),
    "export, safetensors": (400, ("export", "ckpt={run}", "out={disk}/exported", "formats=safetensors")),
    "compare": (12, ("compare", "{run}", "out={disk}/out")),
    "compare, report": (40, ("compare", "{run}", "out={folder}/out", "report={disk}/report")),
    "search, nothing free": (0, ("search", *tiny(**SMALL), "optimizer.weight_decay=0,0.1", "trials=2", "folder={disk}/search")),
    "search, a trial": (700, ("search", *tiny(**SMALL), "optimizer.weight_decay=0,0.1", "trials=2", "folder={disk}/search")),
}  # fmt: skip
SHORT = ("train, 200 kB free", "evaluate, 12 kB free")


def tries(long: bool) -> Iterator[Try]:
    """Each command on a disk of little room; a folder that is removed, and a full standard output."""
    for name in FULL if long else SHORT:
        yield Try(name, partial(fill, *FULL[name]), slow=True)
    if long:
        yield Try("predict, standard output", print_into_nothing, slow=True)
        yield Try("train, the folder is removed", remove_folder, slow=True)


@functools.cache
def finished() -> Path:
    """A finished run, made once."""
    folder = scratch() / "finished"
    done = run("train", *tiny(**SMALL), f"hydra.run.dir={folder}", "force=true", cwd=scratch())
    assert done.returncode == 0, done.stderr
    draw_flower(Species.from_number(0), 64, np.random.default_rng(0)).save(folder / "image.png")
    return folder


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A small disk mounted at the folder; False where none may be mounted. Room is made by a larger size."""
    folder.mkdir()
    # Of 0 tmpfs would make all memory.
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(4, kilobytes)}k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        if mounted and not kilobytes:
            (folder / "filling").write_bytes(bytes(4096))
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(kilobytes: int, words: tuple[str, ...], folder: Path) -> str:
    """The command on a full disk, and again when there is room."""
    places = {"disk": folder / "disk", "run": finished(), "folder": folder, "image": finished() / "image.png"}
    command = [word.format(**places) if "{" in word else word for word in words]
    with disk(places["disk"], kilobytes) as mounted:
        running = start(*command, cwd=folder)
        if not mounted:
            resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes))
        done = running.wait()
        validate_end(done, "search" if words[0] == "search" else "disk", folder)
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=400m", str(places["disk"])], check=True)
        again = run(*command, cwd=folder)
        assert again.returncode == 0, f"With room it ended with {again.returncode}: {again.stderr}"
        # A search's trial that was interrupted stays beside the one that took its place.
        for file in folder.rglob("result.json") if words[0] != "search" else ():
            assert json.loads(file.read_text())["status"] == "finished", file
        return done.stderr.strip().splitlines()[-1].replace(str(folder), "")


def validate_end(done: subprocess.CompletedProcess, named: str, folder: Path) -> None:
    """One sentence that names the file, exit code 1, no half files, no record that says running."""
    errors = [line for line in done.stderr.splitlines() if "Error" in line]
    assert done.returncode == 1, f"It ended with {done.returncode}: {done.stderr}"
    assert len(errors) == 1, done.stderr
    assert named in errors[0], errors[0]
    assert "can't be" in errors[0], errors[0]
    for sign in ("Traceback", "terminate called", "Exception ignored"):
        assert sign not in done.stderr, done.stderr
    for file in folder.rglob("*"):
        # What another program writes for itself may end anywhere: TensorBoard's events, SQLite's own files, Hydra's log.
        own = file.is_file() and file.suffix in (
            ".json",
            ".csv",
            ".yaml",
            ".npz",
            ".ckpt",
            ".png",
            ".html",
            ".md",
            ".pdf",
        )
        assert not (own and file.stat().st_size == 0), f"{file} is empty"
        half = file.name.endswith(".new") or file.name.startswith((".new-", ".flowers_tl-", ".drawing", ".building"))
        assert not half, f"{file} was left"
        if file.suffix == ".json":
            assert json.loads(file.read_text()).get("status") != "running", f"{file} says running"


def print_into_nothing(folder: Path) -> None:
    """The standard output is a full disk."""
    words = [f"ckpt={finished()}", f"images={finished() / 'image.png'}"]
    with open("/dev/full", "w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "flowers_tl.predict", *words],
            stdout=out, stderr=subprocess.PIPE, text=True, env=environment_of(), cwd=folder, check=False,
        )  # fmt: skip
    validate_end(done, "prints", folder)


def remove_folder(folder: Path) -> None:
    """A run's folder is removed while the run is going on."""
    running = start("train", *tiny(**SMALL, trainer__max_epochs=40), "hydra.run.dir=run", cwd=folder)
    while not (folder / "run" / "checkpoints" / "last.ckpt").is_file():
        time.sleep(0.05)
    (folder / "run").rename(folder / "away")
    done = running.wait()
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert done.returncode == 1, f"It ended with {done.returncode}: {done.stdout} {done.stderr}"
    assert len(errors) == 1, done.stderr
    assert "run was removed while its run was writing to it" in errors[0], done.stderr
    assert not (folder / "run" / "result.json").exists()

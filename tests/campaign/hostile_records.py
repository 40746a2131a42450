"""Records of strangers: folders of a run, a sweep or a search in which one thing says what no run would say.

A command may show the run, leave it out with a note, or refuse it with a sentence: it ends soon, without a trace of Python, and
writes nowhere but where its words say.
"""

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from flowers_tl.results.predictions import Predictions
from tests.campaign import Try
from tests.campaign.commands import run, run_loaded, scratch, tiny

PROMISE = "A record of a stranger is data: it never loops, crashes, or decides where something is written"
MARKS = ["[/b]", r"$\frac{", "<script>alert(1)</script>", "=1+1", "\x1b[2J\x07", "| a \n b", "{0}%s", "\u202egnp.exe"]
COMPARE = ("compare", "{run}", "out={folder}/out", "report={folder}/report")
EVALUATE = ("evaluate", "ckpt={run}", "out={folder}/evaluated")
PREDICT = ("predict", "ckpt={run}", "images={image}")
CONTINUE = ("train", "hydra.run.dir={run}", "ckpt_path=last", "trainer.max_epochs=3", "runs={folder}/runs")

# What a try does to a run's folder, and the command that meets it.
Change = Callable[[Path], None]


def result(**values: Any) -> Change:
    """Other values in result.json; two underscores stand for a dot, and Ellipsis removes a key."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "result.json").read_text())
        for key, value in values.items():
            *groups, name = key.split("__")
            part = functools.reduce(lambda inner, group: inner.setdefault(group, {}), groups, content)
            part.pop(name, None)
            if value is not ...:
                part[name] = value
        (folder / "result.json").write_text(json.dumps(content))

    return change


def config(**values: Any) -> Change:
    """Other values in config.yaml, and in the config within the checkpoint."""

    def change(folder: Path) -> None:
        content = yaml.safe_load((folder / "config.yaml").read_text())
        for key, value in values.items():
            *groups, name = key.split("__")
            functools.reduce(dict.__getitem__, groups, content)[name] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        checkpoint(lambda whole: whole["run"].update(config=content))(folder)

    return change


def checkpoint(edit: Callable[[dict[str, Any]], object]) -> Change:
    """A change of the last checkpoint's content."""

    def change(folder: Path) -> None:
        file = folder / "checkpoints" / "last.ckpt"
        content = torch.load(file, weights_only=True)
        edit(content)
        torch.save(content, file)

    return change


def text(name: str, content: str) -> Change:
    """Another file in its place."""
    return lambda folder: (folder / name).write_text(content) and None


def predictions(edit: Callable[[dict[str, np.ndarray]], object]) -> Change:
    """A change of the arrays in predictions.npz."""

    def change(folder: Path) -> None:
        with np.load(folder / "predictions.npz") as file:
            arrays = dict(file)
        edit(arrays)
        np.savez_compressed(folder / "predictions.npz", **arrays)

    return change


def pipe(name: str) -> Change:
    """A pipe in the place of a file, from which a reader would wait for ever."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def marks(folder: Path) -> None:
    """Marks of many languages wherever a text may stand."""
    everywhere = " ".join(MARKS)
    result(strategy=everywhere, backbone=everywhere, data__name=everywhere, protocol__metric=everywhere)(folder)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["strategy"]["name"] = everywhere
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    predictions(lambda arrays: arrays.update(class_names=np.array([f"{k} {everywhere}" for k in range(3)])))(folder)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE: dict[str, tuple[Change, tuple[str, ...]]] = {
    "a link to itself": (text("elsewhere.json", '{"run": "."}'), COMPARE),
    "a link to itself, checkpoint": (text("elsewhere.json", '{"run": "../run"}'), PREDICT),
    "a link to everything": (text("elsewhere.json", '{"run": "/"}'), COMPARE),
    "a link that is no text": (text("elsewhere.json", '{"run": ["/"]}'), COMPARE),
    "YAML bomb": (text("config.yaml", BOMB), COMPARE),
    "YAML bomb, continued": (text("config.yaml", BOMB), CONTINUE),
    "deep YAML": (text("config.yaml", "[" * 100_000), COMPARE),
    "deep JSON": (text("result.json", "[" * 100_000), COMPARE),
    "a long number": (text("result.json", '{"status": "finished", "seed": ' + "9" * 5000 + "}"), COMPARE),
    "marks": (marks, COMPARE),
    "the cache's folder": (config(cache__dir="{folder}/stolen", cache__max_gb=1e-6), EVALUATE),
    "the cache's folder, continued": (config(cache__dir="{folder}/stolen", cache__max_gb=1e-6), CONTINUE),
    "the images' folder": (config(data__root="{folder}/stolen"), EVALUATE),
    "the images' folder, continued": (config(data__root="{folder}/stolen"), CONTINUE),
    "workers": (config(data__num_workers=10_000), EVALUATE),
    "a config of lists": (text("config.yaml", "strategy: []\ndata: 3\ncache: x\n"), CONTINUE),
    "numbers for texts": (result(strategy=7, protocol__name=3, data__name=1.5), COMPARE),
    "texts for numbers": (result(seed="0", epochs="9", parameters__total="many"), COMPARE),
    "nothing for numbers": (result(learning_rates={"head": None}, parameters__total=0, protocol__name=None), COMPARE),
    "endless numbers": (result(seconds__total=1e300, val__loss=1e300, val__accuracy=-1e300), COMPARE),
    "no data": (result(data=...), COMPARE),
    "epochs": (text("history.csv", "epoch,train/loss,val/loss,val/accuracy\n1000000000,1,1,1\n"), COMPARE),
    "a history of words": (text("history.csv", "epoch,train/loss\nrose,lily\n"), COMPARE),
    "a pipe": (pipe("result.json"), COMPARE),
    "a pipe, predictions": (pipe("predictions.npz"), COMPARE),
    "labels": (predictions(lambda arrays: arrays.update(test_labels=np.full(9, 2**40))), COMPARE),
    "logits of another shape": (predictions(lambda arrays: arrays.update(test_logits=np.zeros((2, 2, 2)))), COMPARE),
    "images as numbers": (predictions(lambda arrays: arrays.update(test_pictures=np.zeros(9))), COMPARE),
    "classes of a checkpoint": (checkpoint(lambda c: c["hyper_parameters"].update(class_names=["a"])), PREDICT),
    "image size": (checkpoint(lambda c: c["run"]["config"]["data"].update(image_size=10**6)), PREDICT),
    "temperature": (checkpoint(lambda c: c.update(temperature=float("nan"))), PREDICT),
    "private images": (lambda folder: steal(folder), COMPARE),
    "search.json": (lambda folder: None, ("search", *tiny(), "optimizer.weight_decay=0,0.1", "folder={folder}/search")),
    "TensorBoard's folder": (text("events.out.tfevents.1.x", "\x00" * 100), COMPARE),
}  # fmt: skip
SHORT = ("a link to itself", "YAML bomb", "marks", "private images")


def tries(long: bool) -> Iterator[Try]:
    """Each record before the command that reads it."""
    for name in HOSTILE if long else SHORT:
        yield Try(name, partial(meet, *HOSTILE[name]), slow=True)


@functools.cache
def finished() -> Path:
    """A finished run of which all tries have copies, and an image."""
    folder = scratch() / "strangers"
    done = run("train", *tiny(backbone="squeezenet1_1"), f"hydra.run.dir={folder}", cwd=scratch())
    assert done.returncode == 0, done.stderr
    assert Predictions.read(folder)
    return folder


def private() -> Path:
    """An image of the user that is none of any run."""
    root = json.loads((finished() / "result.json").read_text())["data"]["root"]
    return next(Path(root).rglob("*.jpg"))


def steal(folder: Path) -> None:
    """The record names another folder, and an image of the user as one that it was tested on."""
    home = folder.parent / "home"
    home.mkdir()
    shutil.copy(private(), home / "secret.jpg")
    result(data__root=str(home))(folder)
    predictions(lambda arrays: arrays.update(test_pictures=np.array(["secret.jpg"] * 9)))(folder)


def meet(change: Change, words: tuple[str, ...], folder: Path) -> str:
    """The command ends with an answer or a sentence, and writes nowhere else."""
    copy, image = folder / "run", private()
    shutil.copytree(finished(), copy)
    (folder / "search").mkdir()
    (folder / "search" / "search.json").write_text("[" * 100_000)
    change(copy)
    for file in (copy / "config.yaml",):
        file.write_text(file.read_text().replace("{folder}", str(folder)))
    if b"{folder}" in (copy / "checkpoints" / "last.ckpt").read_bytes():
        # In a pickle its length stands before it.
        whole = torch.load(copy / "checkpoints" / "last.ckpt", weights_only=True)
        whole["run"]["config"] = yaml.safe_load((copy / "config.yaml").read_text())
        torch.save(whole, copy / "checkpoints" / "last.ckpt")
    done = run_loaded(*(w.format(run=copy, folder=folder, image=image) if "{" in w else w for w in words), cwd=folder)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), f"It ended with {done.returncode}: {said}"
    assert "Traceback" not in said, said
    assert "HYDRA_FULL_ERROR" not in said, said
    assert "\x1b[2J" not in said, "It acts on the terminal"
    assert not (folder / "stolen").exists(), "It has written where the record said"
    page = folder / "report" / "report.html"
    if page.is_file():
        assert "<script>alert" not in page.read_text(), "It is a script in the page"
    if change is HOSTILE["private images"][0]:
        assert "<img" not in page.read_text(), "An image of the user is in the report"
    return f"{done.returncode}, {(said.strip().splitlines() or ['nothing'])[-1][:100].replace(str(folder), '')}"

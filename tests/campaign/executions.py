"""Files of strangers that would run something: pickles, yaml tags, _target_, PostScript, TorchScript, names for a shell.

Each bait makes a file, the mark, once it is executed; the programs that Pillow or a shell would start are put first in PATH and
make it too. A command may take or refuse the file: it ends without a trace of Python, and the mark is not there.
"""

import functools
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml

from flowers_tl.data.synthetic import Species, draw_flower
from tests.campaign import Try
from tests.campaign.commands import run_loaded, scratch, tiny

PROMISE = "Nothing that stands in a file of a stranger is ever executed"
PROGRAMS = (
    "gs",
    "gswin64c",
    "sh",
    "bash",
    "python",
    "python3",
    "convert",
    "magick",
    "touch",
    "inkscape",
    "djpeg",
    "open",
)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n(MARK) (w) file closefile\nshowpage\n"
ON = {
    "predict": ("predict", "images={images}", "ckpt={run}"),
    "evaluate": ("evaluate", "ckpt={run}", "out={folder}/evaluated"),
    "explain": ("explain", "images={images}", "ckpt={run}", "figure={folder}/a.png"),
    "export": ("export", "ckpt={run}", "out={folder}/exported", "formats=torch"),
    "compare": ("compare", "{run}", "report={folder}/report"),
    "continue": ("train", "hydra.run.dir={run}", "ckpt_path=last", "trainer.max_epochs=2"),
    "weights": ("train", *tiny(backbone="squeezenet1_1", backbone__weights="{run}/checkpoints/last.ckpt"), "runs={folder}/runs"),
}  # fmt: skip


class Bait:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple:
        return self.reduced


def baits(mark: Path) -> dict[str, Bait]:
    """Three ways to make the mark."""
    code = f"open({str(mark)!r}, 'w').close()"
    return {"os": Bait(os.system, f"/usr/bin/touch {mark}"), "eval": Bait(eval, code), "exec": Bait(exec, code)}


def tries(long: bool) -> Iterator[Try]:
    """Each kind of bait, before each command that reads such a file; a short campaign makes one of each kind."""
    groups = [
        [(f"pickle {bait} in {place}", partial(pickle_in, place, bait), command)
         for place in ("strategy", "state_dict", "run", "callbacks", "whole", "raw", "legacy")
         for bait in (("os", "eval", "exec") if place in ("strategy", "run") else ("os",))
         for command in ("predict", "evaluate", "continue", "weights")],
        [(f"pickle in {file}", partial(pickle_file, file), command)
         for file in ("predictions.npz", "history.csv", "result.json", "config.yaml")
         for command in ("compare", "evaluate", "continue")],
        [("TorchScript for a checkpoint", script_in, command) for command in ("predict", "continue", "weights")],
        [(f"yaml tag {tag}", partial(tag_in, tag), command)
         for tag in ("python/object/apply:os.system", "python/object/new:os.system", "python/name:os.system")
         for command in ("compare", "evaluate", "predict", "continue")],
        [(f"_target_ in {place}", partial(target_in, place), command)
         for place in ("config.yaml", "checkpoint", "result.json")
         for command in ("compare", "evaluate", "predict", "continue")],
        [(f"PostScript as {name}", partial(postscript_in, name), command)
         for name in ("a.jpg", "a.png", "a.eps") for command in ("predict", "explain")],
        [(f"an image called {name}", partial(image_called, name), command)
         for name in ("$(touch MARK).jpg", "`touch MARK`.jpg", "a;touch MARK;.jpg", "|touch MARK.jpg", "{{ 7*'MARK' }}.jpg")
         for command in ("predict", "explain")],
    ]  # fmt: skip
    for group in groups if long else [group[:1] for group in groups]:
        for name, poison, command in group:
            yield Try(f"{name}, {command}", partial(poison_and_run, poison, command), slow=True)


def poison_and_run(poison: Callable[[Path, Path, Path], None], command: str, folder: Path) -> None:
    """Give a command a run's folder and images, one of which was made by a stranger."""
    mark, run, images = folder / "mark", folder / "run", folder / "images"
    shutil.copytree(stranger() / "run", run)
    shutil.copytree(stranger() / "images", images)
    poison(mark, run, images)
    assert not mark.exists(), "The bait has run before the command did."
    programs = folder / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(f"#!/bin/sh\n: > {mark}\n")
        (programs / name).chmod(0o755)
    name, *words = (word.format(run=run, images=images, folder=folder) for word in ON[command])
    done = run_loaded(name, *words, cwd=folder, PATH=str(programs))
    assert not mark.exists(), "It was executed."
    assert done.returncode in (0, 1, 2), f"It ended with {done.returncode}: {done.stderr[-300:]}"
    assert "Traceback" not in done.stderr, f"It ended in a trace of Python: {done.stderr[-300:]}"


@functools.cache
def stranger() -> Path:
    """A folder with a run of one epoch and three images, to be poisoned."""
    folder = scratch() / "stranger"
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        draw_flower(Species.from_number(number), 40, np.random.default_rng(number)).save(
            folder / "images" / f"{number}.jpg"
        )
    words = tiny(backbone="squeezenet1_1", trainer__max_epochs=1, strategy="fine_tuning")
    done = run_loaded("train", *words, f"hydra.run.dir={folder / 'run'}", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def live(bait: Bait, mark: Path) -> Bait:
    """A bait that is known to make the mark where it is unpickled."""
    pickle.loads(pickle.dumps(bait))
    assert mark.exists(), "The bait makes no mark: it would prove nothing."
    mark.unlink()
    return bait


def pickle_in(place: str, kind: str, mark: Path, run: Path, images: Path) -> None:
    """A checkpoint in which something runs when it is unpickled."""
    bait, file = live(baits(mark)[kind], mark), run / "checkpoints" / "last.ckpt"
    if place == "raw":
        file.write_bytes(pickle.dumps(bait))
        return
    content = torch.load(file, weights_only=True)
    if place == "strategy":
        content["hyper_parameters"]["strategy"] = bait
    elif place == "state_dict":
        content["state_dict"]["backbone.network.more"] = bait
    else:
        content[place] = bait
    torch.save(bait if place == "whole" else content, file, _use_new_zipfile_serialization=place != "legacy")


def pickle_file(name: str, mark: Path, run: Path, images: Path) -> None:
    """A pickle in the place of another file; in predictions.npz as an array of objects."""
    bait = live(baits(mark)["os"], mark)
    if name.endswith(".npz"):
        with np.load(run / name) as arrays:
            content = dict(arrays)
        np.savez_compressed(run / name, **content | {"class_names": np.array([bait, bait, bait], dtype=object)})
    else:
        (run / name).write_bytes(pickle.dumps(bait))


def script_in(mark: Path, run: Path, images: Path) -> None:
    """A TorchScript archive, whose code would run, with a pickle beside it."""
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), made)
    file = run / "checkpoints" / "last.ckpt"
    file.write_bytes(made.getvalue())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/extra.pkl", pickle.dumps(live(baits(mark)["os"], mark)))


def tag_in(tag: str, mark: Path, run: Path, images: Path) -> None:
    """A config.yaml with a tag that an unsafe loader would follow."""
    text = (run / "config.yaml").read_text()
    what = f" ['/usr/bin/touch {mark}']" if "apply" in tag or "new" in tag else ""
    line = f"bait: !!{tag}{what}\n"
    if what:
        yaml.unsafe_load(line)
        assert mark.exists(), "The bait makes no mark: it would prove nothing."
        mark.unlink()
    (run / "config.yaml").write_text(text + line)


def target_in(place: str, mark: Path, run: Path, images: Path) -> None:
    """What Hydra's instantiate would call, in the record's groups."""
    call = {"_target_": "os.system", "_args_": [f"/usr/bin/touch {mark}"]}
    if place == "result.json":
        result = json.loads((run / place).read_text())
        (run / place).write_text(json.dumps(result | {"bait": call, "data": result["data"] | call}))
        return
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    config = yaml.safe_load((run / "config.yaml").read_text()) if place == "config.yaml" else content["run"]["config"]
    for group in ("strategy", "backbone", "data", "optimizer", "scheduler", "trainer", "compute"):
        config[group] |= call
    if place == "config.yaml":
        (run / place).write_text(yaml.safe_dump(config))
    content["hyper_parameters"]["strategy"] |= call
    torch.save(content, run / "checkpoints" / "last.ckpt")


def postscript_in(name: str, mark: Path, run: Path, images: Path) -> None:
    """PostScript, which Pillow would give to Ghostscript."""
    (images / name).write_bytes(POSTSCRIPT.replace(b"MARK", bytes(mark)))


def image_called(name: str, mark: Path, run: Path, images: Path) -> None:
    """An image whose name is a command of a shell, or of a template; a slash can't stand in it, so the mark is made in PATH."""
    (images / "0.jpg").rename(images / name.replace("MARK", "mark"))

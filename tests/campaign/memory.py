"""Small files that want much memory: as large as a file of 1 MB can say that it is, and within what is read."""

import functools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import torch
from PIL import Image

from flowers_tl.data.image_bounds import MOST_PIXELS, MOST_PIXELS_WEBP
from tests.campaign import Try
from tests.campaign.commands import run, scratch, tiny
from tests.odd_images import png, scans, tags

PROMISE = "No file of up to 1 MB takes more than 2 GB of memory"
MOST = 2000
SIDE, WEBP = int(MOST_PIXELS**0.5), int(MOST_PIXELS_WEBP**0.5)


def saved(kind: str, mode: str, side: int, **options: object) -> bytes:
    file = scratch() / "large"
    Image.new(mode, (side, side)).save(file, kind, **options)
    return file.read_bytes()


def exif(content: bytes) -> bytes:
    return saved("PNG", "RGB", 50, exif=b"Exif\0\0" + content)


FILES: dict[str, Callable[[], bytes]] = {
    "grey, 16 bits": partial(png, SIDE, SIDE, 16),
    "RGB": partial(png, SIDE, SIDE, 8, 2),
    "RGBA": partial(png, SIDE, SIDE, 8, 6),
    "RGBA, 16 bits": partial(png, 10_000, 10_000, 16, 6),
    "grey with alpha": partial(png, SIDE, SIDE, 8, 4),
    "too many pixels": partial(png, 13_000, 13_000, 16),
    "far too many pixels": partial(png, 60_000, 60_000, 1),
    "float": partial(saved, "TIFF", "F", SIDE, compression="tiff_adobe_deflate"),
    "int32": partial(saved, "TIFF", "I", SIDE, compression="tiff_adobe_deflate"),
    "progressive JPEG": partial(saved, "JPEG", "RGB", SIDE, progressive=True, quality=10),
    "GIF": partial(saved, "GIF", "L", SIDE),
    "WebP": partial(saved, "WEBP", "RGBA", WEBP, lossless=True, quality=0, method=0),
    "a column": partial(png, 1, 2000),
    "a line": partial(png, 20_000, 1),
    "as thin as may be": partial(png, 100_000, 1_000),
    "a tile": partial(tags, 0, 0, tile=45_000),
    "tags": partial(tags, 15_000, 240_000),
    "a camera's notes": lambda: exif(tags(15_000, 240_000)),
    "scans": partial(scans, 3000, 15_000),
}
COMMANDS = {
    "predict": ("predict", "images={file}", "ckpt={run}"),
    "explain": ("explain", "images={file}", "ckpt={run}", "figure={folder}/a.png"),
    "train": (
        "train", "data=folder", "data.root={folder}/photos", "data.image_size=64", "backbone=squeezenet1_1",
        "backbone.weights=null", "trainer.accelerator=cpu", "trainer.max_epochs=1", "hydra.run.dir={folder}/run",
    ),
}  # fmt: skip


def tries(long: bool) -> Iterator[Try]:
    """Each file before each command that reads images; and archives of records that unpack to much."""
    files = FILES if long else ("a column", "tags")
    for command in COMMANDS if long else ("predict",):
        for name in files:
            yield Try(f"{command}, {name}", partial(measure, command, FILES[name]), slow=True)
    if long:
        yield Try("compare, predictions", predictions, slow=True)
        yield Try("predict, checkpoint", checkpoint, slow=True)


@functools.cache
def loaded() -> tuple[Path, float]:
    """A run, and the memory that `predict` takes with it for an ordinary image, in MB."""
    folder, image = scratch() / "network", scratch() / "ordinary.png"
    done = run("train", *tiny(backbone="squeezenet1_1"), f"hydra.run.dir={folder}", cwd=scratch())
    assert done.returncode == 0, done.stderr
    Image.new("RGB", (60, 60)).save(image)
    return folder, run("predict", f"images={image}", f"ckpt={folder}", cwd=scratch()).peak


def measure(command: str, content: Callable[[], bytes], folder: Path) -> str:
    """The command's memory above that with an ordinary image, in MB; it ends with a sentence or an answer."""
    trained, before = loaded()
    for place in ("rose", "lily"):
        (folder / "photos" / place).mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (60, 60), (20 * k, 90, len(place))).save(folder / "photos" / place / f"{k}.png")
    file = folder / "photos" / "rose" / "odd.png"
    file.write_bytes(content())
    if file.stat().st_size > 1e6:
        return f"{file.stat().st_size / 1e6:.1f} MB, so it is none of these"
    done = run(*(word.format(file=file, run=trained, folder=folder) for word in COMMANDS[command]), cwd=folder)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or "odd.png" in done.stderr, done.stderr
    assert done.peak - before < MOST, f"It took {done.peak - before:.0f} MB"
    return f"{done.peak - before:.0f} MB"


def predictions(folder: Path) -> str:
    """Predictions that unpack to 4 GB."""
    trained, before = loaded()
    (folder / "run").mkdir()
    for name in ("result.json", "config.yaml", "history.csv"):
        (folder / "run" / name).write_bytes((trained / name).read_bytes())
    large = np.broadcast_to(np.zeros(1, np.float32), (10**8, 10))
    header = {"descr": "<f4", "fortran_order": False, "shape": large.shape}

    with (
        ZipFile(folder / "run" / "predictions.npz", "w", ZIP_DEFLATED) as archive,
        archive.open("test_logits.npy", "w", force_zip64=True) as part,
    ):
        np.lib.format.write_array_header_1_0(part, header)
        for _ in range(100):
            part.write(bytes(4 * 10**7))
    return told("compare", folder / "run", before, "predictions.npz of run can't be read", folder)


def checkpoint(folder: Path) -> str:
    """A checkpoint of a network with a head for millions of classes."""
    trained, before = loaded()
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"] |= {"num_classes": 10_000_000, "class_names": []}
    torch.save(content, folder / "a.ckpt")
    return told("predict", folder / "a.ckpt", before, "is no checkpoint", folder)


def told(command: str, file: Path, before: float, sentence: str, folder: Path) -> str:
    words = [str(file)] if command == "compare" else [f"ckpt={file}", f"images={scratch() / 'ordinary.png'}"]
    done = run(command, *words, cwd=folder)
    assert sentence in " ".join((done.stdout + done.stderr).split()), done.stdout + done.stderr
    assert done.peak - before < MOST, f"It took {done.peak - before:.0f} MB"
    return f"{done.peak - before:.0f} MB"

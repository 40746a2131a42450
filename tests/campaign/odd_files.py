"""Images that real people have, and some that they do not mean: `predict` answers each, or names it and says why."""

import functools
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowers_tl.data.image_io import read_image
from flowers_tl.data.synthetic import Species, draw_flower
from flowers_tl.utils.errors import UserError
from tests.campaign import Try
from tests.campaign.commands import run, scratch, tiny
from tests.odd_images import png, scans, tags, tiff

PROMISE = "An odd image is read right, or named and left out"


@functools.cache
def flower() -> Image.Image:
    """A drawn flower of 60 by 48 pixels."""
    return draw_flower(Species.from_number(0), 60, np.random.default_rng(0)).crop((0, 6, 60, 54))


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """The flower in another format and mode."""
    file = io.BytesIO()
    image = flower().quantize(256) if mode == "P" else flower().convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    notes = Image.Exif()
    notes[274] = orientation
    return saved(kind, exif=notes)


def numbers(dtype: str, low: float, high: float, photometric: int = 1, **tags: float) -> bytes:
    """The flower's greys from ``low`` to ``high`` as a TIFF of these numbers."""
    grey = np.asarray(flower().convert("L")) / 255
    grey = 1 - grey if photometric == 0 else grey
    return tiff((low + grey * (high - low)).astype(dtype), photometric, **tags)


def sixteen(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(flower().convert("L")).astype(np.uint16) * 257).save(file, kind)
    return file.getvalue()


# What is to come of a file: the flower, its greys, or a part of the sentence. Each is called odd.jpg.
RGB, GREY = "the flower", "its greys"
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG": (partial(saved, "PNG"), RGB),
    "JPEG": (partial(saved, "JPEG", quality=95), RGB),
    "progressive JPEG": (partial(saved, "JPEG", quality=95, progressive=True), RGB),
    "CMYK JPEG": (partial(saved, "JPEG", "CMYK", quality=95), RGB),
    "GIF": (partial(saved, "GIF"), RGB),
    "BMP": (partial(saved, "BMP"), RGB),
    "TIFF": (partial(saved, "TIFF"), RGB),
    "TIFF, LZW": (partial(saved, "TIFF", compression="tiff_lzw"), RGB),
    "TIFF, JPEG": (partial(saved, "TIFF", compression="jpeg", quality=95), RGB),
    "WebP": (partial(saved, "WEBP", lossless=True), RGB),
    "PPM": (partial(saved, "PPM"), RGB),
    "palette": (partial(saved, "PNG", "P"), RGB),
    "grey": (partial(saved, "PNG", "L"), GREY),
    "grey with alpha": (partial(saved, "PNG", "LA"), GREY),
    "RGBA": (partial(saved, "PNG", "RGBA"), RGB),
    "RGBA, WebP": (partial(saved, "WEBP", "RGBA", lossless=True), RGB),
    **{f"turned, {k}": (partial(turned, "PNG", k), RGB) for k in (2, 3, 6, 8)},
    "16 bits, PNG": (partial(sixteen, "PNG"), GREY),
    "16 bits, TIFF": (partial(sixteen, "TIFF"), GREY),
    "16 bits, white is 0": (partial(numbers, "u2", 0, 65535, 0), GREY),
    "float from 0 to 1": (partial(numbers, "f4", 0, 1), GREY),
    "float with its range": (partial(numbers, "f4", -1, 1, lowest=-1, highest=1), GREY),
    "int32 with its range": (partial(numbers, "i4", 0, 255, lowest=0, highest=255), GREY),
    "int32": (partial(numbers, "i4", 0, 255), "needs data.value_range"),
    "uint32": (partial(numbers, "u4", 0, 2**32 - 1), "needs data.value_range"),
    "int16": (partial(numbers, "i2", -100, 100), "needs data.value_range"),
    "float above 1": (partial(numbers, "f4", 0, 255), "needs data.value_range"),
    "NaN": (partial(numbers, "f4", 0, float("nan")), "needs data.value_range"),
    "float64": (partial(numbers, "f8", 0, 1), "a TIFF of 64 bits, float, is not read"),
    "a line": (partial(png, 2000, 1), "longer than 100 times its short side"),
    "many pixels": (partial(png, 13000, 13000, 16), "pixels are more than"),
    "a large tile": (partial(tags, 0, 0, tile=30000), "pixels are more than"),
    "many tags": (partial(tags, 2000, 40000), "its tags name more bytes"),
    "many scans": (partial(scans, 1500, 3000), "scans are too many"),
    "empty": (bytes, "it is none of JPEG"),
    "text": (partial(bytes, b"no image"), "it is none of JPEG"),
    "half a JPEG": (lambda: saved("JPEG")[:500], "can't be read"),
    "half a PNG": (lambda: saved("PNG")[:500], "can't be read"),
    "PostScript": (partial(bytes, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n"), "it is none of JPEG"),
}
SHORT = ("16 bits, white is 0", "turned, 6", "a line", "many tags")


def tries(long: bool) -> Iterator[Try]:
    """Each file is read; a long campaign asks a network about all of them in a folder too."""
    for name in FILES if long else SHORT:
        yield Try(name, partial(read, *FILES[name]))
    if long:
        yield Try("predict on all", predict, slow=True)


def read(content: Callable[[], bytes], wanted: str, folder: Path) -> None:
    """The file's pixels are the flower's, turned and all, or a sentence names the file and the reason."""
    file = folder / "odd.jpg"
    file.write_bytes(content())
    if wanted not in (RGB, GREY):
        with pytest.raises(UserError, match=re.escape(wanted)) as told:
            read_image(file)
        assert str(file) in str(told.value)
        return
    got = np.asarray(read_image(file), int)
    scene = np.asarray(flower().convert("L").convert("RGB") if wanted == GREY else flower(), int)
    views = [scene, scene[:, ::-1], scene[::-1, ::-1], np.rot90(scene), np.rot90(scene, -1)]
    nearest = min(np.abs(view - got).mean() for view in views if view.shape == got.shape)
    assert nearest < 6, f"It differs from {wanted} by {nearest:.1f} of 255"


def predict(folder: Path) -> str:
    """One command on all files: those that can be read are answered, all others are named."""
    trained = scratch() / "odd"
    done = run("train", *tiny(backbone="squeezenet1_1"), f"hydra.run.dir={trained}", cwd=scratch())
    assert done.returncode == 0, done.stderr
    for number, (content, _) in enumerate(FILES.values()):
        (folder / f"{number}.jpg").write_bytes(content())
    done = run("predict", f"ckpt={trained}", f"images={folder}", "format=csv", "top=1", cwd=folder)
    answered = {Path(line.split(",")[0]).stem for line in done.stdout.splitlines()[1:]}
    right = {str(number) for number, (_, wanted) in enumerate(FILES.values()) if wanted in (RGB, GREY)}
    assert answered == right, f"Not answered: {right - answered}; answered: {answered - right}"
    for number in range(len(FILES)):
        assert str(number) in right or f"{number}.jpg can't be read" in done.stderr, number
    assert done.returncode == 1
    return f"{len(answered)} of {len(FILES)} answered, {done.peak:.0f} MB"

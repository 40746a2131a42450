"""One look at every image of a data set: what the checks need of its pixels, in one pass."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base
from torch import Tensor

from flowers_tl.data.image_io import FORMATS, Limits, Undecodable, read_image
from flowers_tl.utils.notes import track
from flowers_tl.utils.threads import map_in_threads

# Sides of the small grey copies, in pixels.
SIDE = 64


class Scan(NamedTuple):
    """Grey copies of n images, uint8 (n, SIDE, SIDE), and facts: none of one that can't be read, else ``pixels`` (a hash),
    ``width``, ``height``, ``spread`` (standard deviation of the grey values), ``grey`` (whether there is no colour) and
    ``taken`` (see :func:`when_taken`)."""

    small: Tensor
    facts: list[dict[str, Any]]


def scan_images(files: Sequence[Path], value_range: Limits) -> Scan:
    """Decode all images, on all cores."""
    look = partial(scan_image, value_range=value_range)
    rows = list(map_in_threads(look, track(files, f"Reading {len(files):,} images")))
    return Scan(torch.tensor(np.stack([small for small, _ in rows])), [facts for _, facts in rows])


def scan_image(file: Path, value_range: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """A small grey copy of an image, uint8 (SIDE, SIDE), and its facts."""
    try:
        image = read_image(file, value_range=value_range)
    except Undecodable:
        return np.zeros((SIDE, SIDE), np.uint8), {}
    colours = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    small = np.asarray(colours.convert("L"))
    facts = {"pixels": hash_pixels(np.asarray(image)), "width": image.width, "height": image.height}
    facts["taken"] = when_taken(file)
    return small, facts | {"spread": float(small.std()), "grey": bool(np.ptp(np.asarray(colours), axis=-1).max() <= 8)}


def when_taken(file: Path) -> tuple[str, float] | None:
    """The camera that took an image, and the second, as EXIF says; None where it does not say both."""
    # Whatever a file has in the place of EXIF.
    with suppress(Exception), Image.open(file, formats=FORMATS) as image:
        # Pillow decodes a PNG to look for EXIF, and no camera writes one.
        if image.format == "PNG":
            return None
        exif = image.getexif()
        more = exif.get_ifd(Base.ExifOffset)
        camera = f"{exif[Base.Make]} {exif[Base.Model]} {more.get(Base.BodySerialNumber, '')}"
        second = datetime.strptime(more[Base.DateTimeOriginal], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        return camera, second.timestamp() + float(f"0.{more.get(Base.SubsecTimeOriginal, 0)}")
    return None


def hash_pixels(pixels: np.ndarray) -> str:
    """A hash of an image (height, width, 3) that is the same when the image is turned by right angles or mirrored."""
    turned = [np.rot90(side, k) for side in (pixels, pixels[:, ::-1]) for k in range(4)]
    # The first of the eight in alphabetical order; its first row nearly always tells which one that is.
    rows = [image[0].tobytes() for image in turned]
    firsts = [image for image, row in zip(turned, rows, strict=True) if row == min(rows)]
    return hashlib.sha256(min(repr(image.shape).encode() + image.tobytes() for image in firsts)).hexdigest()

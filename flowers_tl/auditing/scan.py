"""One look at every image of a data set: what the checks need of its pixels, in one pass."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flowers_tl.data.image_io import Limits, Undecodable, read_image
from flowers_tl.utils.notes import track
from flowers_tl.utils.threads import map_on_all_cores

# Sides of the small grey copies, in pixels.
SIDE = 64


class Scan(NamedTuple):
    """Grey copies of n images, uint8 (n, SIDE, SIDE), and facts: none of one that can't be read, else ``pixels`` (a hash),
    ``width``, ``height``, ``spread`` (standard deviation of the grey values) and ``grey`` (whether there is no colour)."""

    small: Tensor
    facts: list[dict[str, Any]]


def scan_images(files: Sequence[Path], value_range: Limits) -> Scan:
    """Decode all images, on all cores."""
    look = partial(scan_image, value_range=value_range)
    rows = list(map_on_all_cores(look, track(files, f"Reading {len(files):,} images")))
    return Scan(torch.tensor(np.stack([small for small, _ in rows])), [facts for _, facts in rows])


def scan_image(file: Path, value_range: Limits) -> tuple[np.ndarray, dict[str, Any]]:
    """A small grey copy of an image, uint8 (SIDE, SIDE), and its facts."""
    try:
        image = read_image(file, value_range=value_range)
    except Undecodable:
        return np.zeros((SIDE, SIDE), np.uint8), {}
    colours = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    small = np.asarray(colours.convert("L"))
    size = {"pixels": hash_pixels(np.asarray(image)), "width": image.width, "height": image.height}
    return small, size | {"spread": float(small.std()), "grey": bool(np.ptp(np.asarray(colours), axis=-1).max() <= 8)}


def hash_pixels(pixels: np.ndarray) -> str:
    """A hash of an image (height, width, 3) that is the same when the image is turned by right angles or mirrored."""
    turned = [np.rot90(side, k) for side in (pixels, pixels[:, ::-1]) for k in range(4)]
    # The first of the eight in alphabetical order; its first row nearly always tells which one that is.
    rows = [image[0].tobytes() for image in turned]
    firsts = [image for image, row in zip(turned, rows, strict=True) if row == min(rows)]
    return hashlib.sha256(min(repr(image.shape).encode() + image.tobytes() for image in firsts)).hexdigest()

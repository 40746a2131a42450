"""Drawn flowers, and what an audit knows of images."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flowers_tl.auditing.scan import Scan, scan_image
from flowers_tl.data.synthetic import Species, draw_flower

FLOWERS = [draw_flower(Species.from_number(k % 2), 160, np.random.default_rng(k)) for k in range(6)]


def reopened(image: Image.Image, quality: int = 90) -> Image.Image:
    """An image as a JPEG has it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def scanned(folder: Path, images: Sequence[Image.Image]) -> Scan:
    """What an audit knows of images."""
    rows = []
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
        rows.append(scan_image(folder / f"{number}.png", None))
    return Scan(torch.tensor(np.stack([small for small, _ in rows])), [facts for _, facts in rows])

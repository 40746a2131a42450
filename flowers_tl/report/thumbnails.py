"""Small copies of the images, inside the page: it needs no other file."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from flowers_tl.data.image_io import Limits, read_image
from flowers_tl.utils.errors import UserError

# Pixels of the longer side.
SIDE = 128


class Thumbnail(NamedTuple):
    """A JPEG as a data address, and its size in pixels."""

    address: str
    width: int
    height: int


def load_thumbnails(
    images: Iterable[str], root: Path | None, value_range: Limits = None
) -> tuple[dict[str, Thumbnail | None], str]:
    """Thumbnails of the images below the root, None for one that can't be read.

    Returns:
        The thumbnails by image, and a sentence if some are missing, else nothing.
    """
    thumbnails = {image: None if root is None else load_thumbnail(root, image, value_range) for image in images}
    missing = sum(thumbnail is None for thumbnail in thumbnails.values())
    sentence = f"{missing} of {len(thumbnails)} images are not shown: their files are missing or can't be read."
    if root is None:
        sentence = "The images are not shown: the very images that the runs were tested on are not in their folder; root=DIR names it."
    return thumbnails, sentence if missing else ""


def load_thumbnail(root: Path, image: str, value_range: Limits = None) -> Thumbnail | None:
    """Scale an image down. Nothing outside the root is read."""
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        small = read_image(root / path, 2 * SIDE, value_range)
    except UserError:
        return None
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80, optimize=True)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", *small.size)

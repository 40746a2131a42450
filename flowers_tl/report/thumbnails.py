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
    images: Iterable[str], roots: Iterable[Path | None], value_range: Limits = None
) -> tuple[dict[str, Thumbnail | None], str]:
    """Thumbnails of the images below the first of the ``roots`` that is one, None for one that can't be read.

    Returns:
        The thumbnails by image, and a sentence if some are missing, else nothing.
    """
    root = next((root for root in roots if root is not None), None)
    thumbnails = {image: None if root is None else load_thumbnail(root, image, value_range) for image in images}
    missing = sum(thumbnail is None for thumbnail in thumbnails.values())
    if missing and root is None:
        return thumbnails, (
            "The images are not shown: the very images that the runs were tested on are not in their folder; root=DIR names it."
        )
    sentence = f"{missing} of {len(thumbnails)} images are not shown: their files are missing or can't be read."
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

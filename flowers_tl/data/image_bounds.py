"""What a file may take to be read: its image's size, shape, passes and tags are bounded, so memory and time are, whatever it says."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# With these nothing takes 2 GB. WebP's decoder takes more a pixel than others.
MOST_PIXELS = 2**27
MOST_PIXELS_WEBP = 2**26
# An image above this is read while no other such one is.
LARGE = 2**26
# The longer side by the shorter one, which is enlarged to what a network takes.
MOST_RATIO = 100
# A progressive JPEG goes over its pixels again and again, as often as a few bytes say.
MOST_PASSES = 2**31
# Bytes of all tags of a TIFF, or of a camera's notes, beside the file's own: each of 65,535 may name the whole file.
MOST_TAGS = 2**26
# Sides of a TIFF's tiles.
TILE_WIDTH, TILE_LENGTH = 322, 323
# Pixels that are worked on at a time.
STRIP = 2**20

alone = Lock()
# Pillow warns of images that are allowed here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def validate_bounds(image: Image.Image, path: str | Path | None = None) -> None:
    """Raise ValueError if an image, of which the header is enough, would take too much memory or time.

    Args:
        image: that was opened, and perhaps not decoded yet.
        path: of its file, where it has one.
    """
    tags = getattr(image, "tag_v2", {})
    pixels, tile = image.width * image.height, tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0)
    most = MOST_PIXELS_WEBP if image.format == "WEBP" else MOST_PIXELS
    if max(pixels, tile) > most:
        raise ValueError(f"its {max(pixels, tile):,} pixels are more than {most:,}")
    if max(image.size) > MOST_RATIO * min(image.size):
        raise ValueError(
            f"of {image.width:,} by {image.height:,} pixels, it is longer than {MOST_RATIO} times its short side"
        )
    if path and image.info.get("progressive"):
        scans = Path(path).read_bytes().count(b"\xff\xda")
        if scans * pixels > MOST_PASSES:
            raise ValueError(f"its {scans:,} scans are too many")


def one_at_a_time(image: Image.Image) -> AbstractContextManager[Any]:
    """A context within which a large image is decoded while no other large one is."""
    return alone if image.width * image.height > LARGE else nullcontext()


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of an image from the top to the bottom, each as wide as it is: the row that they begin at, and they."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


class BoundedFile:
    """A file of which no more may be read than it holds and MOST_TAGS."""

    def __init__(self, file: Any) -> None:
        here = file.tell()
        self.file, self.left = file, MOST_TAGS + file.seek(0, 2)
        self.seek, self.tell = file.seek, file.tell
        file.seek(here)

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise ValueError("its tags name more bytes than it holds")
        return self.file.read(size)


def load_bounded(
    self: ImageFileDirectory_v2,
    file: Any,
    load: Callable[[ImageFileDirectory_v2, Any], None] = ImageFileDirectory_v2.load,
) -> None:
    """As Pillow loads the tags of a TIFF and the notes of a camera in any format, which it does without a bound."""
    load(self, BoundedFile(file))


ImageFileDirectory_v2.load = load_bounded  # type: ignore[method-assign, assignment]

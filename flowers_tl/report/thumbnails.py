"""Small copies of the images, inside the page: it needs no other file."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from flowers_tl.data.image_io import read_image
from flowers_tl.report.html import Html, element
from flowers_tl.utils.errors import UserError

SIDE = 128  # pixels, the longer side


class Thumbnails:
    """Makes thumbnails of the images below the first of the ``roots`` that exists, each once.

    After use ``asked`` and ``missing`` say how many different images were wanted, and how many could not be shown.
    """

    def __init__(self, roots: Iterable[Path | None]) -> None:
        self.root = next((root for root in roots if root is not None and root.is_dir()), None)
        self.made: dict[str, tuple[str, int, int] | None] = {}

    @property
    def asked(self) -> int:
        return len(self.made)

    @property
    def missing(self) -> int:
        return sum(found is None for found in self.made.values())

    def show(self, image: str, description: str) -> Html:
        """The image as an element, or an empty frame with its name."""
        if image not in self.made:
            self.made[image] = self.read(image)
        found = self.made[image]
        if found is None:
            return element("div", PurePosixPath(image).name, class_="no-picture")
        address, width, height = found
        return element("img", src=address, width=width, height=height, alt=description, title=image)

    def read(self, image: str) -> tuple[str, int, int] | None:
        """Scale an image down: its data address, width and height. Nothing outside the root is read."""
        path = PurePosixPath(image)
        if self.root is None or path.is_absolute() or ".." in path.parts:
            return None
        try:
            small = read_image(self.root / path, 2 * SIDE)
            small.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            small.save(file, "JPEG", quality=80, optimize=True)
        except UserError:
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", *small.size

    def explanation(self) -> str:
        """A sentence if images are not shown, else nothing."""
        if not self.missing:
            return ""
        if self.root is None:
            return "The images are not shown: their folder is no longer where the runs found it."
        return f"{self.missing} of {self.asked} images are not shown: their files are missing or can't be read."

"""Small copies of the pictures, inside the page: it needs no other file."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from flowers_tl.data.image_io import read_picture
from flowers_tl.report.html import Html, element
from flowers_tl.utils.errors import UserError

SIDE = 128  # pixels, the longer side


class Thumbnails:
    """Makes thumbnails of the pictures below the first of the ``roots`` that exists, each once.

    After use ``asked`` and ``missing`` say how many different pictures were wanted, and how many could not be shown.
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

    def show(self, picture: str, description: str) -> Html:
        """The picture as an element, or an empty frame with its name."""
        if picture not in self.made:
            self.made[picture] = self.read(picture)
        found = self.made[picture]
        if found is None:
            return element("div", PurePosixPath(picture).name, class_="no-picture")
        address, width, height = found
        return element("img", src=address, width=width, height=height, alt=description, title=picture)

    def read(self, picture: str) -> tuple[str, int, int] | None:
        """Scale a picture down: its data address, width and height. Nothing outside the root is read."""
        path = PurePosixPath(picture)
        if self.root is None or path.is_absolute() or ".." in path.parts:
            return None
        try:
            small = read_picture(self.root / path, 2 * SIDE)
            small.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            small.save(file, "JPEG", quality=80, optimize=True)
        except UserError:
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}", *small.size

    def explanation(self) -> str:
        """A sentence if pictures are not shown, else nothing."""
        if not self.missing:
            return ""
        if self.root is None:
            return "The pictures are not shown: their folder is no longer where the runs found it."
        return f"{self.missing} of {self.asked} pictures are not shown: their files are missing or can't be read."

"""Image files: by name, folder or pattern, and read to RGB whatever they hold."""

import glob
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from flowers_tl.utils.errors import UserError

# Part of the key of decoded images: a change of what follows here makes them anew.
READING = 2
# Those of torchvision's ImageFolder.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Formats that are ever tried, whatever a file is called: Pillow runs PostScript (EPS) in Ghostscript, and opens many more that
# nobody means. JPEG stands for MPO too, which many cameras write; some public sets hold GIFs that are called .jpg.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")


class Undecodable(UserError):
    """The file is there and is no image, or a damaged one; another UserError is the machine's fault, and may pass."""


def read_image(path: str | Path, side: int | None = None) -> Image.Image:
    """Decode an image file to RGB, as a viewer would show it.

    Args:
        path: of a file in one of :data:`FORMATS`; no other is tried.
        side: that is enough, in pixels: a larger JPEG is decoded to no less than this, which is quicker.

    Raises:
        UserError: if it can't be read; it names the file. Where that is the content's fault it is :class:`Undecodable`.
    """
    try:
        # Opening it would wait for someone to write.
        if Path(path).is_fifo():
            raise ValueError("it is a pipe")
        with Image.open(path, formats=FORMATS) as image:
            if side:
                image.draft("RGB", (side, side))
            return to_rgb(image)
    # Decoders raise nearly anything on a damaged file.
    except Exception as error:
        passing = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        kind = UserError if passing else Undecodable
        why = f"it is none of {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise kind(f"{path} can't be read as an image ({why}): replace the file.") from error


def read_image_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height by the file's header, in pixels, before any turning; None where there is no such header."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    # As above; whoever decodes it will say so.
    except Exception:
        return None


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB: turned as its camera says, what is transparent on white, 16 bits scaled to 8.

    Raises:
        UserError: if it was opened from a file of another format than :data:`FORMATS`, which may not be decoded yet.
    """
    if image.format not in (None, "MPO", *FORMATS):
        raise UserError(
            f"A PIL image of format {image.format} is none of {', '.join(FORMATS)}: give image.convert('RGB') if you trust it."
        )
    # Damaged notes of the camera: it stays as it lies.
    with suppress(SyntaxError, TypeError, LookupError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    # Pillow would cut 16 bits off at 255.
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    # Beneath it lies any colour, mostly black.
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def is_image_file(name: PurePath) -> bool:
    """Whether a file's name is an image's: by its ending, and not hidden."""
    return name.suffix.lower() in ENDINGS and not name.name.startswith(".")


def find_images(names: Sequence[str]) -> list[Path]:
    """The image files that the names stand for, none twice: files, folders with all images below them, and glob patterns.

    A name that exists is that file or folder, whatever brackets or stars it holds.

    Raises:
        UserError: if there is no name, or one that stands for nothing.
    """
    if not names:
        raise UserError("No image is named: images=PATH.")
    images: dict[Path, None] = {}
    for name in names:
        if not name:
            raise UserError("images= names nothing: name an image, a folder (. is this one), or a pattern.")
        if not (matches := list(match_images(name))):
            what = "is neither a file, nor a folder, nor a pattern that fits any"
            if Path(name).is_dir():
                what = "holds no images"
            raise UserError(f"images={name} {what}: name an image, a folder, or a pattern like 'photos/**/*.jpg'.")
        images |= dict.fromkeys(matches)
    return list(images)


def match_images(name: str) -> Iterator[Path]:
    """The image files that one name stands for, in alphabetical order."""
    path = Path(name)
    if path.is_dir():
        below = (file for file in path.rglob("*") if is_image_file(file) and file.is_file())
        yield from sorted(file for file in below if not any(p.startswith(".") for p in file.relative_to(path).parts))
    elif path.exists():
        yield path
    else:
        # Leading folders that exist mean themselves, whatever brackets they hold.
        folder = next((folder for folder in path.parents if folder.is_dir()), Path())
        pattern = Path(glob.escape(str(folder))) / path.relative_to(folder)
        yield from (Path(match) for match in sorted(glob.glob(str(pattern), recursive=True)) if Path(match).is_file())

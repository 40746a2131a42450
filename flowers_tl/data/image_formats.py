"""Formats that are read, those that need another package, and the colour profiles of images."""

import io
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from flowers_tl.utils.errors import UserError, how_to_install

# Formats that are ever tried, whatever a file is called: Pillow runs PostScript (EPS) in Ghostscript, and opens many more that
# nobody means. JPEG stands for MPO too, which many cameras write; some public sets hold GIFs that are called .jpg.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
# Those of torchvision's ImageFolder, other names of JPEGs, and what telephones write.
ENDINGS = tuple(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".jpe",
        ".png",
        ".ppm",
        ".bmp",
        ".pgm",
        ".tif",
        ".tiff",
        ".webp",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
    ]
)
# Tried where a file begins as they do.
BOXED = ("AVIF", "HEIF")
# Tags of a TIFF: bits, whether 0 is white (0) or black (1), channels, kind of numbers, and the lowest and highest that they may be.
BITS, PHOTOMETRIC, CHANNELS, PLANES, EXTRA, KIND, LOWEST, HIGHEST = 258, 262, 277, 284, 338, 339, 340, 341
KINDS = {1: "unsigned", 2: "signed", 3: "float"}
# What systems and programs leave in folders, in lower case, beside hidden files.
JUNK = ("thumbs.db", "desktop.ini", "__macosx")
# The colour space of a profile that fits an image of this mode.
SPACES = {**dict.fromkeys(("RGB", "RGBA", "P", "PA"), "RGB"), "CMYK": "CMYK", "L": "GRAY"}
# Differences from sRGB, of 255, that are rounding.
LIKE_SRGB = 2


class Undecodable(UserError):
    """The file is there and is no image, or a damaged one; another UserError is the machine's fault, and may pass."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over without a word: it is hidden, or the system's own."""
    return name.startswith(".") or name.lower() in JUNK


def is_image_file(name: PurePath) -> bool:
    """Whether a file's name is an image's: by its ending, and not hidden."""
    return name.suffix.lower() in ENDINGS and not name.name.startswith(".")


def find_formats(path: str | Path) -> tuple[str, ...]:
    """The formats to try for a file, by its first bytes. Raises Undecodable where the package that reads it is not installed."""
    with open(path, "rb") as file:
        kind = boxed_format(file.read(12))
    if kind == "HEIF" and not load_heif():
        raise Undecodable(f"HEIC needs pillow-heif: {how_to_install('heif')}.")
    Image.init()
    if kind == "AVIF" and kind not in Image.OPEN:
        raise Undecodable("AVIF needs Pillow 11.3 or newer: install it.")
    return (kind,) if kind else FORMATS


def boxed_format(start: bytes) -> str | None:
    """AVIF or HEIF, by the first twelve bytes of a file."""
    if start[4:8] != b"ftyp":
        return None
    return "AVIF" if start[8:12] in (b"avif", b"avis") else "HEIF"


@cache
def load_heif() -> str | None:
    """Let Pillow read HEIF; the version of what reads it, None if it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return pillow_heif.__version__


def describe_unknown(path: str | Path) -> str:
    """Why Pillow does not know a file: it is a TIFF of numbers that it does not read, or no image."""
    with suppress(Exception), open(path, "rb") as file:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        channels = f"{tags[CHANNELS]} channels of " if tags.get(CHANNELS, 1) > 1 else ""
        return f"a TIFF of {channels}{tags[BITS][0]} bits, {KINDS[tags.get(KIND, (1,))[0]]}, is not read"
    return f"it is none of {', '.join((*FORMATS, *BOXED))}"


def find_srgb_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What brings an image's colours to sRGB by its profile; None where it has none that fits, or that of sRGB."""
    profile, mode = image.info.get("icc_profile"), image.mode
    return make_transform(profile, SPACES[mode]) if profile and mode in SPACES else None


@lru_cache(maxsize=32)
def make_transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform | None:
    # A damaged profile is none.
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != space:
            return None
        mode = "L" if space == "GRAY" else space
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
        if space == "CMYK":
            return transform
        levels = np.linspace(0, 255, 18).astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
        samples = Image.fromarray(grid if mode == "RGB" else np.ascontiguousarray(grid[..., 0]))
        changed = np.asarray(ImageCms.applyTransform(samples, transform), int) - np.asarray(samples.convert("RGB"), int)
        return transform if np.abs(changed).max() > LIKE_SRGB else None
    return None


def find_grey_factor(image: Image.Image) -> int | None:
    """By what Pillow multiplies the grey of 2 or 4 bits, but not the one that is transparent; None for other images."""
    tile = getattr(image, "tile", None)
    return {"L;2": 85, "L;4": 17}.get(str(tile[0][3])) if image.format == "PNG" and tile else None


def in_planes(image: Image.Image) -> bool:
    """Whether channels of 16 bits lie one after another, uncompressed, which Pillow reads as if they had 8."""
    tags = getattr(image, "tag_v2", {})
    planes = tags.get(PLANES) == 2 and len(tags.get(BITS, ())) > 1 and tags[BITS][0] == 16
    return planes and image.info.get("compression") == "raw"


def has_extra_channel(image: Image.Image) -> bool:
    """Whether a TIFF file has a fourth channel that it does not call alpha, as Pillow does."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and image.mode == "RGBA" and not {1, 2} & set(tags.get(EXTRA, ()))

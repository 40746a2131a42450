"""Image files: by name, folder or pattern, and read to RGB whatever they hold."""

import glob
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from flowers_tl.data.image_bounds import one_at_a_time, strips, validate_bounds
from flowers_tl.data.image_formats import (
    BITS,
    BOXED,
    FORMATS,
    HIGHEST,
    KIND,
    KINDS,
    LOWEST,
    PHOTOMETRIC,
    Undecodable,
    describe_unknown,
    find_formats,
    find_grey_factor,
    find_srgb_transform,
    has_extra_channel,
    in_planes,
    is_hidden,
    is_image_file,
)  # fmt: skip
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.notes import log_note

# Part of the key of decoded images: a change of what follows here makes them anew.
READER_VERSION = 2
# The same for those that need a range (:func:`needs_range`), which earlier versions read wrongly.
RANGE_READER_VERSION = 1
# And for those with a colour profile other than that of sRGB.
PROFILE_READER_VERSION = 1
# The numbers that are black and white, see :func:`to_rgb`.
Limits = Sequence[float] | None


def read_image(path: str | Path, side: int | None = None, value_range: Limits = None) -> Image.Image:
    """Decode an image file to RGB, as a viewer would show it.

    Args:
        path: of a file in one of :data:`FORMATS`; no other is tried.
        side: that is enough, in pixels: a larger JPEG is decoded to no less than this, which is quicker.
        value_range: see :func:`to_rgb`.

    Raises:
        UserError: if it can't be read; it names the file. Where that is the content's fault it is :class:`Undecodable`.
    """
    try:
        # Opening it would wait for someone to write.
        if Path(path).is_fifo():
            raise ValueError("it is a pipe")
        with Image.open(path, formats=find_formats(path)) as image:
            validate_bounds(image, path)
            # Pillow keeps the upper half of each number, and compares it with the whole of the transparent one.
            if "transparency" in image.info and any("RGB;16B" in map(str, tile[3:4]) for tile in image.tile):
                raise Undecodable(
                    "16 bits with a transparent colour are not read: save it with 8 bits, or an alpha channel."
                )
            if side:
                image.draft("RGB", (side, side))
            with one_at_a_time(image):
                return to_rgb(image, value_range)
    # Decoders raise nearly anything on a damaged file.
    except Exception as error:
        passing = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        kind = UserError if passing else Undecodable
        why = describe_unknown(path) if isinstance(error, UnidentifiedImageError) else error
        reason = f": {why}" if isinstance(error, Undecodable) else f" ({why}): replace the file."
        raise kind(f"{path} can't be read as an image{reason}") from error


def sample_format(image: Image.Image) -> tuple[int, int, bool]:
    """Bits of an image's numbers, which of KINDS they are, and whether 0 is white where Pillow leaves it so; by its header."""
    if tags := getattr(image, "tag_v2", None):
        white_is_zero = image.mode[0] in "IF" and tags.get(PHOTOMETRIC) == 0
        return tags.get(BITS, (1,))[0], tags.get(KIND, (1,))[0], white_is_zero
    # In its mode of 32 bits Pillow holds 16 of these formats.
    mode = "I;16" if image.mode == "I" and image.format in ("PNG", "PPM") else image.mode
    return {"I": (32, 2, False), "F": (32, 3, False)}.get(mode, (16, 1, False))


def needs_range(image: Image.Image) -> bool:
    """Whether an image, of which the header is enough, has other numbers than unsigned ones of up to 16 bits, 0 for black.

    So has 16-bit grey, and grey of 2 or 4 bits, of which one number is transparent; and a fourth channel that is not alpha.
    """
    bits, kind, white_is_zero = sample_format(image)
    transparent = "transparency" in image.info and (image.mode[0] == "I" or find_grey_factor(image) is not None)
    others = white_is_zero or transparent or in_planes(image) or has_extra_channel(image)
    return bits not in (1, 2, 4, 8, 16) or KINDS.get(kind) != "unsigned" or others


def read_image_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height by the file's header, in pixels, before any turning; None where no image is there that is read."""
    try:
        with Image.open(path, formats=find_formats(path)) as image:
            validate_bounds(image)
            return image.size
    # As above; whoever decodes it will say so.
    except Exception:
        return None


def to_rgb(image: Image.Image, value_range: Limits = None) -> Image.Image:
    """An image of any mode in RGB: turned as its camera says, what is transparent on white, other numbers as 8 bits, colours in sRGB.

    Args:
        image: stays as it is.
        value_range: the numbers that are black and white where these are signed, have 32 bits or are float; None: those
            that the file names (SMinSampleValue, SMaxSampleValue). Float within 0 and 1 needs none.

    Raises:
        UserError: if it was opened from a file of another format than :data:`FORMATS`, which may not be decoded yet, or if
            nothing says which numbers are black and white.
    """
    if image.format not in (None, "MPO", *FORMATS, *BOXED):
        raise UserError(
            f"A PIL image of format {image.format} is none of {', '.join(FORMATS)}: give image.convert('RGB') if you trust it."
        )
    validate_bounds(image)
    if in_planes(image):
        raise Undecodable(
            "uncompressed planes of 16 bits are not read: save it compressed, or with interleaved channels."
        )
    original, limits, transform = image, None, find_srgb_transform(image)
    if has_extra_channel(image):
        image = image.convert("RGB")
    elif (scale := find_grey_factor(image)) and isinstance(grey := image.info.get("transparency"), int):
        image = image.copy()
        image.info["transparency"] = grey * scale
    # Damaged notes of the camera: it stays as it lies.
    with suppress(SyntaxError, TypeError, LookupError, struct.error):
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF" or sample_format(original)[1] == 2:
        limits = find_limits(image, original, value_range)
    elif image.mode == "RGB" and not image.has_transparency_data and not transform:
        return image.copy() if image is original else image
    # A strip at a time, so that a large one takes no more memory than it must.
    rgb = Image.new("RGB", image.size)
    for top, strip in strips(image):
        if limits:
            pixels = to_eight_bits(strip, original, limits)
            # Of 16-bit grey one number may be transparent.
            if "transparency" in original.info:
                pixels[np.asarray(strip) == original.info["transparency"]] = 255
            strip = Image.fromarray(pixels)
        # Beneath it lies any colour, mostly black.
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        strip = strip if strip.mode in ("L", "CMYK") else strip.convert("RGB")
        if transform and strip.mode == transform.input_mode:
            strip = ImageCms.applyTransform(strip, transform) or strip
        rgb.paste(strip.convert("RGB"), (0, top))
    return rgb


def numbers(strip: Image.Image, image: Image.Image) -> np.ndarray:
    """The numbers of a strip (height, width) as the header of its image has them; Pillow holds some as others."""
    values, (bits, kind, _) = np.asarray(strip), sample_format(image)
    return values.view({(8, 2): np.int8, (32, 1): np.uint32}.get((bits, kind), values.dtype))


def find_limits(turned: Image.Image, image: Image.Image, value_range: Limits) -> Sequence[float]:
    """Which numbers are black and white in an image, by what its header says; see :func:`to_rgb`."""
    (bits, kind, _), tags = sample_format(image), getattr(image, "tag_v2", {})
    in_file = [float(np.ravel(tags[tag])[0]) for tag in (LOWEST, HIGHEST) if tag in tags]
    ends = np.array([[part.min(), part.max()] for part in (numbers(strip, image) for _, strip in strips(turned))])
    low, high = min([ends[:, 0].min(), *in_file]), max([ends[:, 1].max(), *in_file])
    limits = value_range or in_file
    if kind == 1 and bits <= 16:
        limits = (0, 2**bits - 1)
    # In a range from 0 to 255 or more it would be all black.
    elif kind == 3 and low >= 0 and high <= 1 and (not value_range or 0 <= value_range[0] < 255 <= value_range[1]):
        limits = (0, 1)
    # A NaN is not below another number.
    if len(limits) != 2 or not limits[0] < limits[1] or not low <= high:
        form = f"{image.format or 'a PIL image'} of {bits} bits, {KINDS.get(kind, 'unknown')}, {low:g} to {high:g}"
        raise Undecodable(f"{form}, needs data.value_range=[BLACK,WHITE] in training.")
    return limits


def to_eight_bits(strip: Image.Image, image: Image.Image, limits: Sequence[float]) -> np.ndarray:
    """The numbers of a strip of an image as uint8 (height, width), from black to white; where 0 is white, the other way."""
    ends = (65535, 0) if sample_format(image)[2] else (0, 65535)
    # By way of 16 bits, so that all are rounded as these are.
    return (np.interp(numbers(strip, image), limits, ends).round() / 257).astype(np.uint8)


def find_images(names: Sequence[str]) -> list[Path]:
    """The image files that the names stand for, none twice: files, folders with all images below them, and glob patterns.

    A note names the files in folders that are no images by their endings. A name that exists is that file or folder, whatever brackets or stars it holds.

    Raises:
        UserError: if there is no name, or one that stands for nothing.
    """
    if not names:
        raise UserError("No images are given: set images=PATH to a file, a folder or a pattern.")
    images: dict[Path, None] = {}
    others: list[Path] = []
    for name in names:
        if not name:
            raise UserError("images= is empty: give an image, a folder (. is the current one), or a pattern.")
        if not (matches := list(match_images(name, others))):
            what = "is no file or folder, and no file matches it as a pattern"
            if Path(name).is_dir():
                what = "holds no images"
            raise UserError(f"images={name} {what}: give an image, a folder, or a pattern like 'photos/**/*.jpg'.")
        images |= dict.fromkeys(matches)
    if others:
        log_note(
            f"Unused files, since their endings are not those of images: {shorten([str(file) for file in others], 20)}."
        )
    return list(images)


def files_below(folder: Path) -> Iterator[Path]:
    """All visible files below a folder, in linked folders too; a link to a folder on its own path is not followed."""
    for place, folders, names in os.walk(folder, onerror=log_note, followlinks=True):
        above = {path.resolve() for path in (Path(place), *Path(place).parents)}
        folders[:] = [name for name in folders if not is_hidden(name) and Path(place, name).resolve() not in above]
        yield from (Path(place, name) for name in names if not is_hidden(name))


def match_images(name: str, others: list[Path] | None = None) -> Iterator[Path]:
    """The image files that one name stands for, in alphabetical order; a folder's visible other files join ``others``."""
    path = Path(name)
    if path.is_dir():
        for file in sorted(files_below(path)):
            if is_image_file(file) and file.is_file():
                yield file
            elif others is not None:
                others.append(file)
    elif path.exists():
        yield path
    else:
        # Leading folders that exist mean themselves, whatever brackets they hold.
        folder = next((folder for folder in path.parents if folder.is_dir()), Path())
        pattern = Path(glob.escape(str(folder))) / path.relative_to(folder)
        yield from (Path(match) for match in sorted(glob.glob(str(pattern), recursive=True)) if Path(match).is_file())

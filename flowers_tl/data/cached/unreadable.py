"""Which images can't be read: each is decoded once to find that out, and again when its file changes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch

from flowers_tl.data.cached.content_hash import State, describe_images, file_state
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.writer import Writer
from flowers_tl.data.image_io import Limits, Undecodable, read_image
from flowers_tl.data.splits import ImageSplit
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log_note
from flowers_tl.utils.threads import map_in_threads

# Most images that are named on the terminal; the run's record names all.
LISTED = 10


def find_missing(files: Iterable[Path]) -> set[Path]:
    """The files that are not there, or may not be read."""
    return {file for file in files if not (file.is_file() and os.access(file, os.R_OK))}


def find_undecodable(files: Sequence[Path], cache: Cache | None = None, value_range: Limits = None) -> set[Path]:
    """The images that can't be decoded. With a ``cache`` they are decoded once for all runs, else once in this process.

    Raises:
        UserError: if a file can't be read at all.
    """
    states = tuple(map(file_state, files))
    if cache is None:
        return decode_all(tuple(files), states, value_range)

    def build(writer: Writer) -> None:
        # Not what this process has kept: the entry's cost is that of decoding.
        undecodable = decode_all.__wrapped__(tuple(files), states, value_range)
        writer.write(torch.tensor([file in undecodable for file in files]))

    what = f"which of {len(files):,} images can be read"
    description = describe_images(files, None, cache, value_range)
    rows = cache.get("readable", what, description, "decode", build).tensor(torch.bool)
    return {files[row] for row in rows.nonzero()}


# A process needs the same data set more than once; its files' states are there to notice a change.
@lru_cache(maxsize=8)
def decode_all(files: tuple[Path, ...], states: tuple[State, ...], value_range: Limits) -> set[Path]:
    """Decode all images, on all cores; return those that can't be decoded."""
    good = map_in_threads(partial(can_be_decoded, value_range=value_range), files)
    return {file for file, is_good in zip(files, good, strict=True) if not is_good}


def can_be_decoded(file: Path, value_range: Limits) -> bool:
    try:
        read_image(file, value_range=value_range)
    except Undecodable:
        return False
    return True


def leave_out(
    splits: Mapping[str, ImageSplit], unreadable: Sequence[Path], value_range: Limits
) -> dict[str, ImageSplit]:
    """The splits without the unreadable files, which a note names.

    Raises:
        UserError: if a class has nothing left in a split.
    """
    total = sum(map(len, splits.values()))
    reasons = [why_unreadable(file, value_range) for file in unreadable[:LISTED]]
    more = [f"... and {len(unreadable) - LISTED} more"] if len(unreadable) > LISTED else []
    log_note("\n  ".join([f"{len(unreadable)} of {total:,} images left out:", *reasons, *more]))
    readable = {name: images.without(set(unreadable)) for name, images in splits.items()}
    for name, images in splits.items():
        if lost := set(images.labels) - set(readable[name].labels):
            raise UserError(
                f"No image of class '{images.classes[min(lost)]}' in {name} can be read: replace them, or remove the class."
            )
    return readable


def why_unreadable(file: Path, value_range: Limits) -> str:
    try:
        read_image(file, value_range=value_range)
    except UserError as error:
        return str(error)
    return f"{file} could not be read before."

"""Which images can't be read: found once, by decoding them, and remembered until a file changes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import cpu_count
from pathlib import Path

import torch

from flowers_tl.data.cached.content_hash import State, file_state
from flowers_tl.data.cached.decoded_images import describe_images
from flowers_tl.data.cached.disk_cache import Cache, Writer
from flowers_tl.data.image_io import Undecodable, read_image
from flowers_tl.data.splits import ImageSplit
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log_note

LISTED = 10  # images that are left out, on the terminal; the run's record names all


def find_missing(files: Iterable[Path]) -> set[Path]:
    """The files that are not there, or may not be read."""
    return {file for file in files if not (file.is_file() and os.access(file, os.R_OK))}


def find_undecodable(files: Sequence[Path], cache: Cache | None = None) -> set[Path]:
    """The images that can't be decoded; for a set that has no store, which would know.

    With a ``cache`` they are decoded once for all runs, else once in this process.

    Raises:
        UserError: if the disk refuses one.
    """
    if cache is None:
        return decode_all(tuple(files), tuple(map(file_state, files)))

    def build(writer: Writer) -> None:
        bad = decode_all(tuple(files), tuple(map(file_state, files)))
        writer.write(torch.tensor([file in bad for file in files]))

    what = f"which of {len(files):,} images can be read"
    found = cache.get("readable", what, describe_images(files, None, cache), "decode", build).tensor(torch.bool)
    return {file for file, bad in zip(files, found.tolist(), strict=True) if bad}


@lru_cache(maxsize=8)  # a process asks for the same set more than once
def decode_all(files: tuple[Path, ...], states: tuple[State, ...]) -> set[Path]:
    """Decode all images, on all cores, for those that can't be; the states are there to see a change."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return {file for file, good in zip(files, pool.map(can_be_decoded, files), strict=True) if not good}


def can_be_decoded(file: Path) -> bool:
    try:
        read_image(file)
    except Undecodable:
        return False
    return True


def leave_out(found: Mapping[str, ImageSplit], bad: Sequence[Path]) -> dict[str, ImageSplit]:
    """The splits without the ``bad`` files, of which the user is told.

    Raises:
        UserError: if a class has nothing left in a split.
    """
    total, out = sum(map(len, found.values())), set(bad)
    reasons = [why_unreadable(file) for file in bad[:LISTED]]
    more = [f"... and {len(bad) - LISTED} more"] if len(bad) > LISTED else []
    log_note("\n  ".join([f"{len(bad)} of {total:,} images left out:", *reasons, *more]))
    kept = {name: own.without(out) for name, own in found.items()}
    for name, own in found.items():
        if lost := set(own.labels) - set(kept[name].labels):
            raise UserError(
                f"No image of the class '{own.classes[min(lost)]}' in {name} can be read: replace them, or remove the class."
            )
    return kept


def why_unreadable(file: Path) -> str:
    """What reading the file says."""
    try:
        read_image(file)
    except UserError as error:
        return str(error)
    return f"{file} could not be read before."

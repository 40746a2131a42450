"""Hashes of image files: each file is read and hashed once for all runs, and again when something has changed it."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from PIL import Image

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.writer import Writer
from flowers_tl.data.image_formats import FORMATS, boxed_format, find_srgb_transform, load_heif
from flowers_tl.data.image_io import PROFILE_READER_VERSION, RANGE_READER_VERSION, READER_VERSION, Limits, needs_range
from flowers_tl.data.splits import ImageSplit
from flowers_tl.data.transforms import ARTICLE, Preprocessing
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import names_below
from flowers_tl.utils.notes import track
from flowers_tl.utils.threads import map_in_threads

State = tuple[int, ...]

# The hashes that this process knows without a cache.
_known: dict[State, bytes] = {}


def file_state(file: Path) -> State:
    """What changes when a file's bytes do. Names are no part of it: a renamed file is the same, a swapped one is another.

    Nor is the time of the last change enough, which copying and unpacking set back. Two images of discs may have files with
    the same numbers and times, so the file system counts too.
    """
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, *file_system(file.parent, stat.st_dev)


@cache
def file_system(folder: Path, device: int) -> tuple[int, ...]:
    """What tells one file system from another: the number of its device, and where the system knows it, its own."""
    return (device, os.statvfs(folder).f_fsid) if hasattr(os, "statvfs") else (device,)


def hash_files(files: Sequence[Path], cache: Cache | None) -> list[bytes]:
    """SHA-256 of each file's bytes; with a ``cache`` they are kept for all runs.

    Raises:
        UserError: if a file can't be read.
    """
    states = [file_state(file) for file in files]
    # Each cache has its own: to take the hashes that another run has computed would hide what they cost.
    known = _known if cache is None else cache.hashes
    if cache is not None and not known.keys() >= set(states):
        what = f"hashes of {len(files):,} images' files"

        def build(writer: Writer) -> None:
            contents = b"".join(hash_unknown(files, states, known, what, cache.progress))
            writer.write(torch.frombuffer(bytearray(contents), dtype=torch.uint8))

        stamp = hashlib.sha256(repr(states).encode()).hexdigest()
        entry = cache.get("contents", what, {"files": stamp, "hash": "sha256"}, "decode", build)
        rows = entry.tensor(torch.uint8).view(len(files), -1).numpy()
        known.update(zip(states, (row.tobytes() for row in rows), strict=True))
    return hash_unknown(files, states, known)


def hash_unknown(
    files: Sequence[Path],
    states: Sequence[State],
    known: dict[State, bytes],
    title: str = "",
    progress: bool = False,
) -> list[bytes]:
    """SHA-256 of the files, of which those that are not ``known`` are read, with a progress bar if it is wanted."""
    unknown = {state: file for state, file in zip(states, files, strict=True) if state not in known}
    hashes = map_in_threads(hash_file, track(list(unknown.values()), title, progress))
    known.update(zip(unknown, hashes, strict=True))
    return [known[state] for state in states]


def hash_file(file: Path) -> bytes:
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise UserError(f"{file} can't be read ({error}): repair it, or replace it.") from error


def fingerprint_split(images: ImageSplit, root: Path, cache: Cache | None = None) -> str:
    """Hash a split: names below ``root``, labels and content of the images, in their order, so that unlike splits differ."""
    digest = hashlib.sha256()
    names, contents = names_below(images.files, root), hash_files(images.files, cache)
    for name, label, content in zip(names, images.labels, contents, strict=True):
        # A name that is no UTF-8 has the bytes that it has on disk.
        digest.update(f"{name} {label} ".encode(errors="surrogateescape") + content)
    return digest.hexdigest()[:16]


def find_traits(files: Iterable[Path]) -> set[str]:
    """What is among image files that earlier versions read otherwise, or that needs a package.

    ``range``: numbers that were read wrongly; ``profile``: colours that were not brought to sRGB; ``HEIF`` and ``AVIF``.
    """
    return {trait for file in files for trait in file_traits(file, file_state(file))}


# The state is there to notice a change.
@cache
def file_traits(file: Path, state: State) -> frozenset[str]:
    """:func:`find_traits` of a file; nothing of one that is no image."""
    with suppress(Exception), open(file, "rb") as content:
        # Where JPEG, PNG and WebP have their profile.
        start = content.read(2**17)
        if boxed := boxed_format(start[:12]):
            return frozenset([boxed])
        tiff = start[:2] in (b"II", b"MM")
        # TIFF, PFM and PNG of grey with 2, 4 or 16 bits: all others, which are most, need not be opened as images.
        grey = start[:4] == b"\x89PNG" and start[24:26] in (b"\x02\0", b"\x04\0", b"\x10\0")
        numbers = tiff or start[:2] == b"Pf" or grey
        profile = tiff or any(mark in start for mark in (b"ICC_PROFILE\0", b"iCCP", b"ICCP"))
        if numbers or profile:
            with Image.open(file, formats=FORMATS) as image:
                has_trait = {"range": numbers and needs_range(image), "profile": profile and find_srgb_transform(image)}
                return frozenset(trait for trait, has in has_trait.items() if has)
    return frozenset()


def describe_images(
    files: Sequence[Path],
    short_side: int | None,
    cache: Cache | None,
    value_range: Limits = None,
    preprocessing: Preprocessing = ARTICLE,
) -> dict[str, Any]:
    """All that decoded images follow from, as plain Python: a key of the cache, from which the files' bytes are known."""
    versions: dict[str, Any] = {
        "reading": READER_VERSION,
        "pillow": PIL.__version__,
        "torchvision": torchvision.__version__,
    }
    traits = find_traits(files)
    if "range" in traits:
        versions |= {"ranges": RANGE_READER_VERSION, "value_range": value_range}
    if "profile" in traits:
        versions["profiles"] = PROFILE_READER_VERSION
    # Without the package they are unreadable, which is kept too.
    if "HEIF" in traits:
        versions["heif"] = load_heif()
    if short_side:
        versions |= preprocessing.describe_decoding()
    content = hashlib.sha256(b"".join(hash_files(files, cache))).hexdigest()
    return {"contents": content, "pictures": len(files), "short_side": short_side, **versions}

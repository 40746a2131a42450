"""What image files hold: each is read and hashed once, for all runs, and again when something has changed it."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import torch

from flowers_tl.data.cached.disk_cache import Cache, Writer
from flowers_tl.utils.errors import UserError

DIGEST = 32  # bytes of a SHA-256

State = tuple[int, ...]

_known: dict[State, bytes] = {}  # the hashes that this process has met


def file_state(file: Path) -> State:
    """What changes when a file's bytes do. Names are no part of it: a renamed file is the same, a swapped one is another.

    Nor is the time of the last change enough, which copying and unpacking set back.
    """
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def hash_files(files: Sequence[Path], cache: Cache | None) -> list[bytes]:
    """SHA-256 of each file's bytes; with a ``cache`` they are kept for all runs.

    Raises:
        UserError: if a file can't be read.
    """
    states = [file_state(file) for file in files]
    if any(own not in _known for own in states):

        def build(writer: Writer) -> None:
            groups = [range(start, min(start + 64, len(files))) for start in range(0, len(files), 64)]
            for group in cache.shown(groups, what):
                for content in hash_unknown([files[k] for k in group], [states[k] for k in group]):
                    writer.write(torch.frombuffer(bytearray(content), dtype=torch.uint8))

        if cache is None:
            hash_unknown(files, states)
        else:
            what = f"hashes of {len(files):,} pictures' files"
            stamp = hashlib.sha256(repr(states).encode()).hexdigest()
            entry = cache.get("contents", what, {"files": stamp, "hash": "sha256"}, "decode", build)
            rows = entry.tensor(torch.uint8).numpy().reshape(-1, DIGEST)
            _known.update(zip(states, (row.tobytes() for row in rows), strict=True))
    return [_known[own] for own in states]


def hash_unknown(files: Sequence[Path], states: Sequence[State]) -> list[bytes]:
    """SHA-256 of the files, of which those that are not known are read."""
    missing = {own: file for own, file in zip(states, files, strict=True) if own not in _known}
    with ThreadPoolExecutor(cpu_count()) as pool:
        _known.update(zip(missing, pool.map(hash_file, missing.values()), strict=True))
    return [_known[own] for own in states]


def hash_file(file: Path) -> bytes:
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise UserError(f"{file} can't be read ({error}): put it right, or replace it.") from error

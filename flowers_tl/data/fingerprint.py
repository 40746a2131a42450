"""Which pictures a split holds: a hash of their names, labels and bytes, so that unlike splits can be told apart."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import cpu_count
from pathlib import Path

import torch

from flowers_tl.data.cache import Cache, Writer
from flowers_tl.data.store import stamp

DIGEST = 32  # bytes of a SHA-256


def fingerprint(files: Sequence[Path], labels: Sequence[int], root: Path, cache: Cache | None = None) -> str:
    """Hash a split: names below ``root``, labels and content of the pictures, in their order.

    With a ``cache`` the content is read once for all runs, as long as names, sizes and times of change stay.
    """
    digest = hashlib.sha256()
    for file, label, content in zip(files, labels, contents(files, cache), strict=True):
        digest.update(f"{file.relative_to(root).as_posix()} {label} ".encode() + content)
    return digest.hexdigest()[:16]


def contents(files: Sequence[Path], cache: Cache | None) -> list[bytes]:
    """SHA-256 of each file."""
    if not files:
        return []
    stamped = stamp(files)
    if cache is None:
        return read_contents(tuple(files), stamped)

    def build(writer: Writer) -> None:
        for content in read_contents(tuple(files), stamped):
            writer.write(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    what = f"hashes of {len(files):,} pictures' files"
    entry = cache.get("contents", what, {"files": stamped, "hash": "sha256"}, "decode", build)
    return [row.tobytes() for row in entry.tensor(torch.uint8).numpy().reshape(-1, DIGEST)]


@lru_cache(maxsize=8)  # a process asks for the same split more than once
def read_contents(files: tuple[Path, ...], stamped: str) -> list[bytes]:
    """SHA-256 of the files; their stamp is there so that a change is seen."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(lambda file: hashlib.sha256(file.read_bytes()).digest(), files))

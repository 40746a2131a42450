"""Which pictures a split holds: a hash of their names, labels and bytes, so that unlike splits can be told apart."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowers_tl.data.cache import Cache, Writer

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
    states = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    if cache is None:
        return read_contents(states)

    def build(writer: Writer) -> None:
        for content in read_contents(states):
            writer.write(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    named = [(Path(name).name, *rest) for name, *rest in states]
    described: dict[str, Any] = {"files": hashlib.sha256(repr(named).encode()).hexdigest(), "hash": "sha256"}
    entry = cache.get("contents", f"hashes of {len(files):,} pictures' files", described, "decode", build)
    rows = entry.tensor(torch.uint8).numpy().reshape(-1, DIGEST)
    return [row.tobytes() for row in np.asarray(rows)]


@lru_cache(maxsize=8)  # a process asks for the same split more than once
def read_contents(states: tuple[tuple[str, int, int], ...]) -> list[bytes]:
    """SHA-256 of the files that ``states`` name; sizes and times are there so that a change is seen."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(lambda state: hashlib.sha256(Path(state[0]).read_bytes()).digest(), states))

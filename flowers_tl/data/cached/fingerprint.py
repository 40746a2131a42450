"""Which images a split holds: a hash of their names, labels and bytes, so that unlike splits can be told apart."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from flowers_tl.data.cached.content_hash import hash_files
from flowers_tl.data.cached.disk_cache import Cache


def fingerprint_split(files: Sequence[Path], labels: Sequence[int], root: Path, cache: Cache | None = None) -> str:
    """Hash a split: names below ``root``, labels and content of the images, in their order.

    With a ``cache`` the content is read once for all runs, until a file changes.
    """
    digest = hashlib.sha256()
    for file, label, content in zip(files, labels, hash_files(files, cache), strict=True):
        digest.update(f"{file.relative_to(root).as_posix()} {label} ".encode() + content)
    return digest.hexdigest()[:16]

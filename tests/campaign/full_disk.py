"""Disks without space, folders that vanish."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "A full disk ends in a sentence that names the file, and leaves no half file"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

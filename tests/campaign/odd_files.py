"""Images that real people have."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "An odd image is read right, or named and left out"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

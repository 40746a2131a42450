"""Small files that want much memory."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "No file of up to 1 MB takes more than 2 GB of memory"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

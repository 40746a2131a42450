"""Wrong command lines."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "A wrong command line ends in one sentence with key and remedy, before anything is written"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

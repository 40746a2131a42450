"""Workers under fork, forkserver and spawn."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "Workers give the same bits however they are started"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

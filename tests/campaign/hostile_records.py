"""Records of strangers."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "A record of a stranger is data: it never loops, crashes, or decides where something is written"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

"""SIGTERM and SIGINT at any moment, on one and on two devices."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "A run that is told to stop ends within 30 s, with a sentence, a status and its exit code"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

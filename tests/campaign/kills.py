"""SIGKILL at any moment, and again."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "A run that was killed at any moment goes on to the same end: weights, scores, history, freeze check and TensorBoard, bit for bit on a CPU"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

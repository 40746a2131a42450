"""Files of strangers that would run something."""

from collections.abc import Iterator

from tests.campaign import Try

PROMISE = "Nothing that stands in a file of a stranger is ever executed"


def tries(long: bool) -> Iterator[Try]:
    """None yet."""
    yield from ()

"""What the user is told of the data though nothing is wrong."""

from functools import cache

from lightning.pytorch.utilities import rank_zero_only


@cache  # a process sets the same data up more than once
@rank_zero_only
def print_note(text: str) -> None:
    """Print a note, once."""
    print(f"Note: {text}")

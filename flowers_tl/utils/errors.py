"""Errors of the input: one sentence that names the thing and the remedy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """Bad input. The message is one sentence for the user; the commands print it without a stack trace."""

    def __str__(self) -> str:
        # A DataLoader worker hands its exception over as a whole printed traceback; the sentence is what stands last.
        return super().__str__().rsplit(f"{type(self).__name__}: ", 1)[-1].strip()


def suggest(wrong: str, known: Iterable[str], most: int = 12) -> str:
    """Say which of the ``known`` names is nearest to the wrong one, if any is near, and what is known.

    >>> suggest("heat", ["stem", "head"])
    "did you mean 'head'? Known: stem, head"
    """
    known = [str(name) for name in known]
    lower = {name.lower(): name for name in known}
    near = get_close_matches(str(wrong).lower(), lower, n=1, cutoff=0.5)
    return (f"did you mean '{lower[near[0]]}'? " if near else "") + f"Known: {shorten(known, most)}"


def shorten(names: Sequence[str], most: int = 4) -> str:
    """List the first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def validate_not_empty(value: Any, key: str = "") -> None:
    """Raise UserError if an option is an empty text, or holds one, however deep.

    As a path it would mean the working directory, and with more behind it the root of the file system.
    """
    if isinstance(value, Mapping):
        for name, part in value.items():
            validate_not_empty(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            validate_not_empty(part, key)
    elif isinstance(value, str) and not value.strip():
        raise UserError(f"{key}= is empty: give it a value, or leave it out.")
    elif isinstance(value, str) and value.partition("/")[0] == "~" and key not in ("data.root", "data.file"):
        raise UserError(f"{key}={value} would be a folder called ~ here: write the whole path of the home folder.")


def validate_count(key: str, value: int, low: int = 1) -> None:
    """Raise UserError if the option ``key`` is no whole number of at least ``low``."""
    if not isinstance(value, int) or value < low:
        raise UserError(f"{key}={value} must be a whole number of at least {low}.")


def first_line(error: Exception | str) -> str:
    """The first line of a message, without its full stop, to stand within a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def needs_extra(package: str, sentence: str, extra: str) -> Iterator[None]:
    """Raise UserError if importing a package of an extra fails since it is not installed.

    Args:
        package: its name in Python.
        sentence: says what needs it.
        extra: of this package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UserError(f"{sentence}: {how_to_install(extra)}.") from error


def how_to_install(extra: str) -> str:
    """What to type to get an extra of this package, which is on no index."""
    return f"pip install '.[{extra}]' in a checkout of the project"

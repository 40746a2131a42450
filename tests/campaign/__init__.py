"""The campaign: tries that attack what docs/reliability.md promises. ``python -m tests.campaign long=true`` makes them all.

Each promise is one module of this folder, named in :data:`MODULES`. A module has

- ``PROMISE``: the promise as a sentence, which is the row's name in the table of docs/reliability.md;
- ``tries(long)``: yields each :class:`Try`; a few where ``long`` is false, which the test suite makes (test_campaign.py).

    def tries(long: bool) -> Iterator[Try]:
        for line in LINES if long else LINES[:5]:
            yield Try(line, partial(refuse, line))

    def refuse(line: str, folder: Path) -> None:
        done = run("train", *shlex.split(line), cwd=folder)
        assert done.returncode == 2 and "Traceback" not in done.stderr, f"{line} ended with {done.returncode}: {done.stderr}"

:mod:`tests.campaign.commands` runs commands in processes that have torch already, measures their memory and can kill them;
a try may as well call the package in this process. A try must not depend on another, nor on the order.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

MODULES = (
    "kills", "signals", "executions", "wrong_lines", "odd_files", "hostile_records", "full_disk", "memory", "start_methods",
)  # fmt: skip


@dataclass(frozen=True)
class Try:
    """One attack.

    Attributes:
        name: says what is tried, unique in its module; a result is kept under it.
        run: makes the try in an empty folder. It raises AssertionError with a sentence where the promise is broken, and any
            other exception counts as a failure too. A text that it returns is kept beside the result: what was measured.
        slow: takes more than about 10 seconds, so that `make test-fast` leaves it out.
        seconds: of time, after which the try has failed.
    """

    name: str
    run: Callable[[Path], str | None]
    slow: bool = False
    seconds: int = 300


def load(name: str) -> ModuleType:
    """The module of a promise."""
    return import_module(f"tests.campaign.{name}")


def find_tries(name: str, long: bool) -> Iterator[Try]:
    """The tries of a promise; of two with one name the second is refused with ValueError."""
    names: set[str] = set()
    for one in load(name).tries(long):
        if one.name in names:
            raise ValueError(f"Two tries of {name} are called {one.name}.")
        names.add(one.name)
        yield one


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise AssertionError in the main thread once the time is over."""

    def stop(*_: object) -> None:
        raise AssertionError(f"It had not ended after {seconds} s.")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(one: Try, folder: Path) -> str | None:
    """Make a try within its time; return what it measured."""
    with time_limit(one.seconds):
        return one.run(folder)

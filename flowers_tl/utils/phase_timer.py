"""Where a run's time goes: wall-clock seconds by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

# JPEGs into the store, images through the frozen prefix, the solver of a head, training with its validations, the test,
# and all the rest.
PHASES = ("decode", "prefix", "solve", "fit", "test", "other")


class PhaseTimer:
    """Counts from when it is made; every second belongs to one phase, ``other`` where none is named."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.phases = ["other"]
        self.counted = time.perf_counter()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the seconds of a phase; while another one runs within it, those are the other's."""
        self._count()
        self.phases.append(phase)
        try:
            yield
        finally:
            self._count()
            self.phases.pop()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Count nothing: what passes is not the run's time."""
        self._count()
        try:
            yield
        finally:
            self.counted = time.perf_counter()

    def elapsed(self, phase: str) -> float:
        """Seconds of a phase so far; a run that goes on counts what it had taken before."""
        self._count()
        return self.seconds[phase]

    def summary(self) -> dict[str, float]:
        """Seconds so far by phase, and ``total``, to hundredths."""
        self._count()
        seconds = self.seconds | {"total": sum(self.seconds.values())}
        return {name: round(value, 2) for name, value in seconds.items()}

    def _count(self) -> None:
        """Add the time since the last count to the phase that runs."""
        now = time.perf_counter()
        self.seconds[self.phases[-1]] += now - self.counted
        self.counted = now

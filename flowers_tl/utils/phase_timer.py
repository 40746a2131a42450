"""Where a run's time goes: wall-clock seconds by phase."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# JPEGs into the store, images through the frozen prefix, the solver of a head, training with its validations, the test,
# and all the rest.
PHASES = ("decode", "prefix", "solve", "fit", "test", "other")


class PhaseTimer:
    """Counts from when it is made; every second belongs to one phase, ``other`` where none is named.

    It also knows what a cache changes in that, by entry: the seconds ``spent`` here in building it, opening it or waiting for
    it, and its cost, the seconds that it took when it was built. An unknown cost is None.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.spent: dict[str, float] = {}
        self.costs: dict[str, float | None] = {}
        # The phase and the entry of the cache that are counted, the innermost last.
        self.running = [("other", "")]
        self.counted = time.perf_counter()

    @contextmanager
    def timed(self, phase: str = "", entry: str = "") -> Iterator[None]:
        """Count the seconds of a phase, of an entry of the cache, or of both; while another one runs within it, those are the other's."""
        self._count()
        outer_phase, outer_entry = self.running[-1]
        self.running.append((phase or outer_phase, entry or outer_entry))
        try:
            yield
        finally:
            self._count()
            self.running.pop()

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

    def spent_on(self, entry: str) -> float:
        """Seconds that an entry of the cache took here so far."""
        self._count()
        return self.spent.get(entry, 0.0)

    def use(self, costs: Mapping[str, float | None]) -> None:
        """Take the costs of entries, by name, each of which counts once; what is known stays known."""
        self.costs |= {name: cost for name, cost in costs.items() if cost is not None or name not in self.costs}

    def add_earlier_run(self, seconds: Mapping[str, float], kept: Mapping[str, float | None]) -> None:
        """Add an earlier part of the run: its :meth:`summary` and :attr:`kept`."""
        for phase in PHASES:
            self.seconds[phase] += seconds.get(phase, 0.0)
        self.spent["before"] = -(kept.get("here") or 0.0)
        self.use({name: cost for name, cost in kept.items() if name != "here"})

    def take_share(self, whole: "PhaseTimer", of: int) -> None:
        """Take an equal share of the seconds and costs that ``of`` runs have counted together."""
        self.seconds = {phase: value / of for phase, value in whole.seconds.items()}
        self.spent = {entry: value / of for entry, value in whole.spent.items()}
        self.costs = {entry: cost and cost / of for entry, cost in whole.costs.items()}

    @property
    def kept(self) -> dict[str, float | None]:
        """What the cold seconds add to the total: minus those spent ``here`` on entries of the cache, and the cost of each entry."""
        kept = {"here": -sum(self.spent.values()), **self.costs}
        return {entry: cost and round(cost, 3) + 0.0 for entry, cost in kept.items()}

    def summary(self) -> dict[str, float]:
        """Seconds so far by phase, ``total``, and, if all costs are known, ``cold``: as if nothing had been kept; to hundredths."""
        self._count()
        seconds = self.seconds | {"total": sum(self.seconds.values())}
        known = [cost for cost in self.kept.values() if cost is not None]
        if len(known) == len(self.kept):
            seconds["cold"] = seconds["total"] + sum(known)
        return {name: round(value, 2) for name, value in seconds.items()}

    def _count(self) -> None:
        """Add the time since the last count to the phase that runs."""
        now = time.perf_counter()
        phase, entry = self.running[-1]
        self.seconds[phase] += now - self.counted
        if entry:
            self.spent[entry] = self.spent.get(entry, 0.0) + now - self.counted
        self.counted = now

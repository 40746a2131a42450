"""Two groups on the same images: how far apart they are, and whether the runs decide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flowers_tl.report.summary import Entry
from flowers_tl.results.statistics import Interval, McNemar, difference, mcnemar, paired_difference

UNDECIDED = "not decided by these runs"


@dataclass(frozen=True)
class SeedTest:
    """McNemar's test of two runs with the same seed; ``adjusted`` is its p after Holm's correction."""

    seed: int
    test: McNemar
    adjusted: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Test accuracy of ``first`` less that of ``second``, and McNemar's test for each seed that both have."""

    first: Entry
    second: Entry
    interval: Interval
    tests: tuple[SeedTest, ...]

    @property
    def decided(self) -> bool:
        return self.interval.low > 0 or self.interval.high < 0

    def sentence(self) -> str:
        """The outcome in words, the better one first."""
        value, low, high = self.interval.value, self.interval.low, self.interval.high
        over = "" if self.interval.over == "images and seeds" else f", over {self.interval.over} only"
        if not self.decided:
            span = f"95 % interval {points(low)} to {points(high)}{over}"
            return f"{UNDECIDED}: {self.first.label} against {self.second.label}, difference {points(value)} points, {span}"
        better, worse = self.first, self.second
        if value < 0:
            better, worse, value, low, high = worse, better, -value, -high, -low
        digits = 1 if low >= 0.0005 else 2  # a limit above zero is not to read as 0.0
        span = f"95 % interval {points(low, digits)} to {points(high, digits)}{over}"
        return f"{better.label} is better than {worse.label} by {points(value, digits)} points, {span}"


class Comparisons:
    """Compares any two groups, each pair once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], Comparison] = {}

    def between(self, first: Entry, second: Entry) -> Comparison | None:
        """The comparison, or None where a group has kept no answers by image."""
        if first.answers is None or second.answers is None:
            return None
        key = (first.number, second.number)
        if key not in self.known:
            self.known[key] = compare(first, second)
        return self.known[key]

    def against(self, best: Entry, others: Sequence[Entry]) -> list[Comparison]:
        """The best against each of the others; all their McNemar tests are one family for Holm's correction."""
        found = [self.between(best, other) for other in others if other is not best]
        found = [comparison for comparison in found if comparison is not None]
        adjusted = iter(holm([one.test.p for comparison in found for one in comparison.tests]))
        return [replace(c, tests=tuple(replace(one, adjusted=next(adjusted)) for one in c.tests)) for c in found]


def compare(first: Entry, second: Entry) -> Comparison:
    """Pair by seed where both have the same ones: what a seed does to both is no difference between them."""
    a, b = first.answers.hits, second.answers.hits
    interval = paired_difference(a, b) if first.seeds == second.seeds else difference(a, b)
    rows = {seed: k for k, seed in enumerate(second.seeds)}
    tests = [(seed, mcnemar(a[k], b[rows[seed]])) for k, seed in enumerate(first.seeds) if seed in rows]
    return Comparison(first, second, interval, tuple(SeedTest(seed, test, test.p) for seed, test in tests))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): reject where the corrected p is small, and the chance of one error or more
    among all tests stays as small.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps, kind="stable")
    stepped = np.maximum.accumulate([(len(ps) - k) * ps[place] for k, place in enumerate(order)])
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, stepped)
    return adjusted.tolist()


def points(share: float, digits: int = 1) -> str:
    """A share in percentage points, with a minus sign that is as wide as a plus."""
    text = f"{100 * share:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "\u2212")


def p_value(p: float) -> str:
    """Three digits are enough, and none is zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

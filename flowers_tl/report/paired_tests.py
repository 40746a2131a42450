"""Two groups on the same test images: how far apart they are, and whether the difference is significant."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flowers_tl.report.summary import LEVEL, ComparisonSummary, StrategySummary
from flowers_tl.results.statistics import Interval, McNemar, difference, mcnemar


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Test accuracy of ``first`` less that of ``second``, and McNemar's test by seed, for each that both have.

    ``level`` is that of the interval: above 95 % it is one of several that hold together at 95 %.
    """

    first: StrategySummary
    second: StrategySummary
    interval: Interval
    tests: dict[int, McNemar]
    level: float

    @property
    def significant(self) -> bool:
        return self.interval.low > 0 or self.interval.high < 0

    @property
    def fewer_errors(self) -> float:
        """Relative error reduction: what part of the second's errors the first does not make; NaN where there are none."""
        errors = 1 - self.second.predictions.correct.mean()
        return self.interval.value / errors if errors else float("nan")

    def sentence(self) -> str:
        """The outcome in words, the better one first."""
        first, second, interval = self.first.label, self.second.label, self.interval
        if self.significant and interval.value < 0:
            return replace(self, first=self.second, second=self.first, interval=-interval).sentence()
        over = "" if interval.over == "images and seeds" else f", over {interval.over} only"
        limits = f"{name_interval(self.level)} {span(interval)}{over}"
        if not self.significant:
            return f"{first} and {second} do not differ significantly (difference {points(interval.value)} points, {limits})"
        gain = f"{points(interval.value)} points ({limits}), {100 * self.fewer_errors:.0f} % fewer errors"
        return f"{first} is better than {second} by {gain}"


def name_interval(level: float) -> str:
    """What an interval of this level is called."""
    return "simultaneous 95 % CI" if level > LEVEL else "95 % CI"


def compare(summary: ComparisonSummary, first: StrategySummary, second: StrategySummary) -> PairedDifference | None:
    """Pair the runs by seed where both groups have the same seeds: the seed's effect on both is no difference between them.

    All intervals of a report have the level of its ``summary``, so that no two of its sentences disagree.

    Returns:
        None if the predictions by image of one group are not on record.
    """
    if not (first.predictions and second.predictions):
        return None
    a, b = first.predictions.correct, second.predictions.correct
    interval = difference(a, b, level=summary.level, paired=first.seeds == second.seeds)
    rows = {seed: k for k, seed in enumerate(second.seeds)}
    tests = {seed: mcnemar(a[k], b[rows[seed]]) for k, seed in enumerate(first.seeds) if seed in rows}
    return PairedDifference(first, second, interval, tests, summary.level)


def compare_with_others(summary: ComparisonSummary) -> list[PairedDifference]:
    """The first strategy with predictions against each of the others; the p-values are corrected as one family (Holm)."""
    pairs = [compare(summary, summary.with_predictions[0], other) for other in summary.with_predictions[1:]]
    differences = [difference for difference in pairs if difference is not None]
    adjusted = iter(holm([test.p for difference in differences for test in difference.tests.values()]))
    return [
        replace(one, tests={seed: replace(test, p=next(adjusted)) for seed, test in one.tests.items()})
        for one in differences
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): it bounds the chance of one error or more among all tests.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps, kind="stable")
    stepped = np.maximum.accumulate([(len(ps) - k) * ps[place] for k, place in enumerate(order)])
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, stepped)
    return adjusted.tolist()


def span(interval: Interval, least: int = 1) -> str:
    """The limits of an interval, in percentage points; one that is not zero has digits until it does not read as zero."""
    limits = (interval.low, interval.high)
    digits = [next((d for d in range(least, 7) if limit and round(100 * limit, d)), least) for limit in limits]
    return " to ".join(map(points, limits, digits))


def points(share: float, digits: int = 1) -> str:
    """A share in percentage points, with a minus sign that is as wide as a plus."""
    text = f"{100 * share:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "\u2212")

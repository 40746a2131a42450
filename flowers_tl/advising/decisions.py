"""A race of candidates over seeds: which are still in it, and what may be said of those that left, at a level that holds for all.

Each round gives every candidate one more seed. From the third on, the candidate with the best mean validation accuracy is
compared with each other one, image by image and seed by seed. All these intervals, of all rounds and all pairs, hold together:
the chance that any statement of a whole race is wrong is at most ALPHA (docs/advise.md has how often it is).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flowers_tl.report.paired_tests import points, span
from flowers_tl.results.statistics import FEWEST_SEEDS, Interval, difference
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log_note

ALPHA = 0.05
# The part of ALPHA for the first round that decides. Of what is left each later round has half: a difference that the first one
# leaves open is mostly a matter of the images, which more seeds do not decide.
FIRST = 0.75
# No race has more: later rounds would have next to nothing of ALPHA.
MOST_SEEDS = 8
# What two candidates are taken to disagree in where nothing is known yet: a tenth of the images.
DISAGREEMENT = 0.1

# A difference in accuracy of so much must be within reach of the val images, else a race can decide nothing.
WITHIN_REACH = 0.2

Hits = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Validation accuracy of ``leader`` less that of ``other`` after so many seeds; ``interval`` holds with all others."""

    leader: str
    other: str
    seeds: int
    interval: Interval

    @property
    def better(self) -> bool:
        """Whether it is stated that the leader is better."""
        return self.interval.low > 0

    def leaves(self, matters: float) -> bool:
        """Whether the other can't be better than the leader by as much as matters (a share)."""
        return self.interval.low > -matters

    def limits(self) -> str:
        """The difference with its interval, in points."""
        return f"{points(self.interval.value)} points, simultaneous 95 % CI {span(self.interval)}"

    def sentence(self, matters: float) -> str:
        """What is stated; only of one that leaves."""
        if self.better:
            return f"{self.leader} is better than {self.other} ({self.limits()})"
        return f"{self.other} is not better than {self.leader} by {100 * matters:g} points ({self.limits()})"


def level(seeds: int, candidates: int) -> float:
    """The level of one interval after so many seeds, so that those of all pairs of candidates and all rounds hold together.

    Bonferroni over the pairs; over the rounds the error is spent by a fixed plan (alpha spending, Lan and DeMets 1983), so it does not
    matter in which round a race ends.
    """
    later = seeds - FEWEST_SEEDS
    part = (1 - FIRST) / 2**later if later else FIRST
    return 1 - ALPHA * part / max(1, candidates * (candidates - 1) / 2)


def compare_with_leader(hits: Hits, seeds: int, candidates: int) -> list[Comparison]:
    """Compare the leader of those that have so many seeds with the others among them.

    Args:
        hits: by candidate, whether each image is classified rightly, (seeds or more, images).
        seeds: how many count; fewer than FEWEST_SEEDS decide nothing.
        candidates: how many have begun.
    """
    shown = {name: values[:seeds] for name, values in hits.items() if len(values) >= seeds}
    if seeds < FEWEST_SEEDS or len(shown) < 2:
        return []
    # Of equals the first.
    leader = max(shown, key=lambda name: shown[name].mean())
    return [
        Comparison(leader, name, seeds, interval(shown[leader], values, candidates))
        for name, values in shown.items()
        if name != leader
    ]


def interval(a: np.ndarray, b: np.ndarray, candidates: int) -> Interval:
    """Mean accuracy of ``a`` less that of ``b``, both (seeds, images) with the same seeds, at the level of the race."""
    return difference(a, b, level=level(len(a), candidates))


def seeds_to_decide(a: np.ndarray, b: np.ndarray, candidates: int, matters: float) -> int | None:
    """How many further seeds would let ``b`` leave, hits (seeds, images), if they do as those do that there are.

    None where not even :data:`MOST_SEEDS` would: mostly the images are too few.
    """
    for more in range(max(1, FEWEST_SEEDS - len(a)), MOST_SEEDS - len(a) + 1):
        seeds = len(a) + more
        expected = interval(np.resize(a, (seeds, a.shape[1])), np.resize(b, (seeds, b.shape[1])), candidates)
        if expected.low > -matters:
            return more
    return None


def smallest_difference(images: int, candidates: int) -> float:
    """About the smallest difference, a share, that three seeds on so many images can show."""
    half = np.zeros((FEWEST_SEEDS, images))
    disagree = max(2, round(DISAGREEMENT * images))
    half[:, :disagree] = 1
    other = np.roll(half, disagree // 2, axis=1)
    return interval(half, other, candidates).high


def validate_reach(images: int, classes: int, candidates: int, matters: float) -> None:
    """Raise UserError if so few val images can decide nothing; a note says below which difference they decide nothing."""
    least = smallest_difference(images, candidates)
    if least > WITHIN_REACH:
        needed = next(n for n in range(images, 10**6, 10) if smallest_difference(n, candidates) <= WITHIN_REACH / 2)
        raise UserError(
            f"{images} val images can't decide anything: only differences above {100 * least:.0f} points would show. About "
            f"{-(-needed // classes)} val images a class would show {50 * WITHIN_REACH:.0f} points."
        )
    if least > matters:
        log_note(
            f"With {images:,} val images and three seeds, differences below about {100 * least:.1f} points stay undecided."
        )

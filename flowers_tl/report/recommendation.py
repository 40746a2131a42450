"""Which strategy at which budget: chosen by val accuracy, with what the test says of each choice as evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flowers_tl.report.paired_tests import UNDECIDED, Comparisons, points
from flowers_tl.report.summary import Entry, Facts
from flowers_tl.results.load_runs import percent
from flowers_tl.results.terminal_tables import share
from flowers_tl.utils.errors import shorten


@dataclass(frozen=True)
class Step:
    """From this budget on the strategy is the best by val; ``evidence`` says what the test makes of it."""

    budget: str
    label: str
    scores: str
    evidence: str


@dataclass(frozen=True)
class Road:
    """The choices as one budget grows."""

    title: str
    steps: list[Step]
    passed_over: list[str]  # cost more than a choice, and are no better by val

    def rest(self) -> str:
        """A sentence on those that were passed over, or nothing."""
        return f"No better by val for more: {shorten(self.passed_over, most=6)}." if self.passed_over else ""


def headline(facts: Facts, comparisons: Comparisons) -> str:
    """The answer in two sentences; where numbers of training images differ, for the largest: that is no choice."""
    (size, entries), *smaller = by_size(facts)
    best = entries[0]
    if np.isnan(best.val.mean):
        return "No run was measured on val, so no strategy is chosen here; the table has what the test says."
    tested = np.isfinite(best.accuracy.mean)
    accuracy = f"{percent(best.accuracy.values)} of the test images rightly{interval_of(best)}"
    accuracy = f"names {accuracy}" if tested else "was not tested"
    among = f"Of {size:,} training images: " if smaller and size is not None else ""
    if len(entries) == 1:
        return f"{among}{best.label} {accuracy}. It is the only setting here, so there is nothing to choose from."
    answer = f"{among}{best.label} is best by val accuracy ({percent(best.val.values)}) and {accuracy}."
    second = entries[1]
    if np.isnan(second.val.mean):
        return f"{answer} No other setting was measured on val."
    said = f"The next by val is {second.label} ({percent(second.val.values)})."
    return f"{answer} {said} {capital(evidence(best, second, comparisons))}."


def interval_of(entry: Entry) -> str:
    interval = entry.accuracy.interval
    if interval is None:
        return ""
    return f" (95 % interval {points(interval.low)} to {points(interval.high)}, over {interval.over})"


def evidence(better: Entry, other: Entry, comparisons: Comparisons) -> str:
    """What the test says of two entries, of which val prefers the first."""
    comparison = comparisons.between(better, other)
    if comparison is not None:
        return comparison.sentence() + (", although val prefers the other" if comparison.interval.high < 0 else "")
    gap = better.accuracy.mean - other.accuracy.mean
    known = "not tested" if np.isnan(gap) else f"difference {points(gap)} points, no interval without answers by image"
    return f"{UNDECIDED}: {better.label} against {other.label}, {known}"


def roads(entries: Sequence[Entry], comparisons: Comparisons) -> list[Road]:
    """One road by seconds, one by learning parameters, as far as they are known."""
    timed = [entry for entry in entries if np.isfinite(entry.seconds.mean) and np.isfinite(entry.val.mean)]
    counted = [entry for entry in entries if np.isfinite(entry.val.mean)]
    found = [
        ("As time grows", timed, lambda e: e.seconds.mean, lambda e: f"from {amount(e.seconds.mean)} s a run"),
        (
            "As learning parameters grow",
            counted,
            lambda e: e.trainable,
            lambda e: f"from {e.trainable:,} ({share(e.trainable, e.total)})",
        ),
    ]
    return [road(title, among, cost, said, comparisons) for title, among, cost, said in found if among]


def road(
    title: str,
    entries: Sequence[Entry],
    cost: Callable[[Entry], float],
    budget: Callable[[Entry], str],
    comparisons: Comparisons,
) -> Road:
    """Take up an entry where it costs more than the choices before it, and is better by val.

    Each is set against the last choice whose own gain the test has borne out: what is not decided is no ground to
    stand on.
    """
    steps, passed_over, best, ground = [], [], None, None
    for entry in sorted(entries, key=lambda entry: (cost(entry), -entry.val.mean)):
        if best is not None and entry.val.mean <= best.val.mean:
            passed_over.append(entry.label)
            continue
        best = entry
        scores = f"val {percent(entry.val.values)}, test {percent(entry.accuracy.values)}"
        if ground is None:
            steps.append(Step(budget(entry), entry.label, scores, ""))
            ground = entry
            continue
        steps.append(Step(budget(entry), entry.label, scores, capital(evidence(entry, ground, comparisons)) + "."))
        comparison = comparisons.between(entry, ground)
        if comparison is not None and comparison.interval.low > 0:
            ground = entry
    return Road(title, steps, passed_over)


def amount(seconds: float) -> str:
    """Seconds; a tenth counts where there are few."""
    return f"{seconds:,.{digits(seconds)}f}"


def digits(seconds: float) -> int:
    return 1 if seconds < 10 else 0


def by_size(facts: Facts) -> list[tuple[int | None, list[Entry]]]:
    """Entries by the number of their training images, the most first: budgets are only alike within one."""
    sizes = {entry.train_images for entry in facts.entries}
    ordered = sorted(sizes, key=lambda size: -(size or 0))
    return [(size, [entry for entry in facts.entries if entry.train_images == size]) for size in ordered]


def cautions(facts: Facts) -> list[str]:
    """What else may differ between the groups, and how far the advice goes."""
    said = []
    if len(facts.entries) > 1:
        said.append(
            "Val alone chooses; the test is only reported. The val accuracy of the one that was chosen among many is "
            "a little too good, its test accuracy is not."
        )
        said.append(
            "Seconds are as recorded: a run that finds images and features which an earlier one has kept is quicker."
        )
    epochs = {int(n) for entry in facts.entries for n in entry.epochs.values if n > 0}  # 0: a head that was solved
    if len(epochs) > 1:
        said.append(
            f"The runs had unlike numbers of epochs ({', '.join(f'{n:,}' for n in sorted(epochs))}): where there were "
            "fewer, more might change the answer."
        )
    if any(len(entry.group.runs) == 1 for entry in facts.entries):
        said.append("A group with one seed says nothing of how another seed would end.")
    if len(by_size(facts)) > 1:
        said.append(
            "Groups with unlike numbers of training images differ in more than their strategy; the advice is for each "
            "number apart."
        )
    return said


def capital(sentence: str) -> str:
    """A sentence with a capital letter; the name of a strategy keeps its own."""
    return sentence[:1].upper() + sentence[1:] if sentence.startswith(UNDECIDED) else sentence

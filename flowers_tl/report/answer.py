"""The answer of a comparison: which strategy to use, what is not decided, and what few seeds can't show."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from flowers_tl.report.paired_tests import PairedDifference, compare, span
from flowers_tl.report.recommendation import by_train_images, describe_difference, seconds
from flowers_tl.report.summary import ComparisonSummary, StrategySummary
from flowers_tl.results.load_runs import Run
from flowers_tl.results.scores import percent
from flowers_tl.results.statistics import FEWEST_SEEDS
from flowers_tl.runs.read_record import read_mapping
from flowers_tl.utils.errors import shorten

# What the best is compared with, and the difference where predictions by image are on record.
Rivals = Sequence[tuple[StrategySummary, PairedDifference | None]]


@dataclass(frozen=True)
class Answer:
    """Sentences for page, Markdown and terminal alike, for the largest number of training images if there are several.

    Attributes:
        headline: which strategy to use, its test accuracy, data set and network.
        decision: how its closest rivals compare with it, and what they cost.
        numbers: its accuracies.
        few_seeds: what one or two seeds can't show, what holds all the same, and how to add seeds; else nothing.
        command: that adds seeds, where it is known.
    """

    headline: str
    decision: str
    numbers: str
    few_seeds: list[str]
    command: str


def answer(summary: ComparisonSummary) -> Answer:
    """Say what the comparison has shown."""
    largest, *smaller = by_train_images(summary)
    best, *others = largest.strategies
    rivals = [(other, compare(largest, best, other)) for other in others]
    few, command = few_seeds(best, rivals)
    if largest.best is None:
        headline = f"No strategy is recommended on {describe_task(best)}"
        decision = "No run was validated, so no strategy is recommended; the table has the test accuracies."
        return Answer(headline, decision, "", few, command)
    score, test = "not tested", "no test accuracy: it was not tested"
    if np.isfinite(best.accuracy.mean):
        interval = best.accuracy.interval
        ci = f" (95 % CI {span(interval)}, over {interval.over})" if interval else ""
        score = f"{100 * best.accuracy.mean:.1f} % test accuracy"
        test = f"a test accuracy of {percent(best.accuracy.values)}{ci}"
    use, val = best.label, f"a {summary.val_title} of {best.val_text}"
    if others:
        use, val = f"Use {best.label}", f"the best {summary.val_title} ({best.val_text})"
    if smaller and best.train_images is not None:
        use = f"With {best.train_images:,} training images: {use}"
    return Answer(
        f"{use}: {score} on {describe_task(best)}",
        decide(largest, rivals),
        f"{best.label} has {val} and {test}.",
        few,
        command,
    )


def describe_task(strategy: StrategySummary) -> str:
    """The data set, by the name of its folder or table if it has no other, and the network."""
    run = strategy.runs[0]
    result, data = run.result, run.result.get("data", {})
    place = {"folder": data.get("root"), "manifest": run.config.get("data.file")}.get(data.get("name"))
    name = Path(place).name if place else data.get("name")
    return f"{name or 'unnamed data'} with {result.get('backbone', 'an unnamed network')}"


def decide(summary: ComparisonSummary, rivals: Rivals) -> str:
    """How the best compares with the rival that matters.

    That is the cheapest of those that do not differ significantly from it and cost less. Where none costs less, it is the
    second of those that differ, and one that does not differ is said to be no better and not cheaper.
    """
    best, others = summary.strategies[0], summary.strategies[1:]
    if not others:
        return "There is no other setting to compare it with."
    if np.isnan(others[0].val.mean):
        return "No other setting was validated."
    known = [pair for _, pair in rivals if pair]
    equal = [pair.second for pair in known if not pair.significant]
    timed = all(np.isfinite(s.seconds.mean) for s in summary.strategies)
    cost = (lambda s: s.seconds.mean) if timed else (lambda s: s.trainable)
    cheaper = [strategy for strategy in equal if cost(strategy) < cost(best)]
    rival = min(cheaper, key=cost) if cheaper else [*equal, *others][0]
    price = f"has {rival.trainable:,} trainable parameters, {best.label} {best.trainable:,}"
    if timed:
        price = f"takes {seconds(rival.seconds.mean)} s per run, {best.label} {seconds(best.seconds.mean)} s"
    difference = next(pair for other, pair in rivals if other is rival)
    text = f"{'Not decided: ' * bool(equal)}{describe_difference(summary, best, rival, difference)}"
    if cheaper:
        text += f". {rival.label} {price}"
    elif equal:
        runs = rival.accuracy.values
        spread = f"runs from {100 * runs.min():.1f} to {100 * runs.max():.1f} %, " if len(runs) > 1 else ""
        text += f". {rival.label} has {spread}no better {summary.val_title}, and {price}"
        if worse := [pair for pair in known if pair.interval.low > 0]:
            text = f"{worse[0].sentence()}. {text}"
    text += "."
    if more := [strategy.label for strategy in equal if strategy is not rival]:
        text += f" Also not decided: {shorten(more, most=3)}."
    if len(others) > 1 and sum(pair.interval.low > 0 for pair in known) == len(others):
        text += f" {best.label} is significantly better than each of the {len(others)} others."
    if better := [p.second.label for p in known if p.interval.high < 0 and p.second is not rival]:
        worse_val = f"{summary.metric.worse} {summary.val_title}"
        text += f" With {worse_val}, yet significantly better on the test images: {shorten(better)}."
    return text


def few_seeds(best: StrategySummary, rivals: Rivals) -> tuple[list[str], str]:
    """What strategies with one or two seeds can't show, and what holds over the test images; the command for more seeds."""
    strategies = [best, *(other for other, _ in rivals)]
    few = [strategy for strategy in strategies if len(strategy.seeds) < FEWEST_SEEDS]
    if not few:
        return [], ""
    who = "" if len(few) == len(strategies) else f" (here {shorten([s.label for s in few])})"
    number = "One seed" if min(len(s.seeds) for s in few) == 1 else "Two seeds"
    lines = [f"{number} can't show how results vary between seeds{who}."]
    over_images = [pair for _, pair in rivals if pair and pair.interval.over == "images"]
    if over_images:
        better = sum(pair.interval.low > 0 for pair in over_images)
        part = {0: "any", len(over_images): "each"}.get(better, better)
        others = "the other" if len(over_images) == 1 else f"{part} of the {len(over_images)} others"
        verdict = f"{best.label} is {'' if better else 'not '}significantly better than {others}"
        lines.append(f"Over the test images alone, for these very runs: {verdict}.")
    elif not rivals and best.accuracy.interval:
        which = "this very run" if len(best.seeds) == 1 else "these very runs"
        lines.append(f"The confidence intervals are about {which}, over the test images alone.")
    # The seeds that there are, and the next ones up to three.
    seeds = sorted({seed for strategy in few for seed in strategy.seeds})
    spare = (seed for seed in count(0) if seed not in seeds)
    wanted = ",".join(map(str, sorted([*seeds, *islice(spare, max(0, FEWEST_SEEDS - len(seeds)))])))
    command = sweep_command(few[0].runs[0], wanted)
    add = "A third seed" if number.startswith("Two") else "More seeds"
    known = "the command below; finished runs are not repeated"
    return [*lines, f"{add}: {known if command else f'the same command with -m and seed={wanted}'}."], command


def sweep_command(run: Run, seeds: str) -> str:
    """The command of the sweep that a run belongs to, with these seeds; nothing where it is not on record."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        words = read_mapping(run.folder.parent / "multirun.yaml")["hydra"]["overrides"]["task"]
        words = [str(word) for word in words if not str(word).startswith("seed=")]
        return shlex.join(["python", "-m", "flowers_tl.train", "-m", *words, f"seed={seeds}"])
    return ""

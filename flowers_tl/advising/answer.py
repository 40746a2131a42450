"""The answer of a race: ten lines for the terminal, advice.json, and a page with the race as a picture."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.advising.candidates import Candidate, quoted
from flowers_tl.advising.decisions import Comparison, compare_with_leader
from flowers_tl.advising.figures import draw_profile, draw_race
from flowers_tl.advising.profile import StageScore
from flowers_tl.advising.race import Race
from flowers_tl.report import write_report
from flowers_tl.report.palette import render_page
from flowers_tl.report.summary import summarize
from flowers_tl.report.svg import to_svg
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.scores import percent
from flowers_tl.utils.files import atomic_write, dumps
from flowers_tl.utils.notes import clock, log

# A strategy is named as a quicker one that takes less than this part of what the best takes.
QUICKER = 0.8


@dataclass(frozen=True)
class Answer:
    """What the race says, in sentences."""

    headline: str
    better: list[str]
    undecided: list[str]
    cheaper: list[str]
    left_out: list[str]
    cost: str
    command: str


def answer(race: Race, left_out: Sequence[str]) -> Answer:
    """Put what the race has found out into words."""
    best, ran = race.leader, [one for one in race.candidates if one.seeds]
    tested = f", test {percent(np.array([*best.tests.values()]))}" if best.tests else ""
    headline = f"Use {best.name}: {describe(best, tested)}"
    better, undecided, single = [], [], []
    for other in sorted((one for one in ran if one is not best), key=lambda one: -one.accuracy):
        comparison = compared(race, best, other)
        if comparison and comparison.leaves(race.matters):
            better.append(f"{comparison.sentence(race.matters)}.")
        elif min(best.seeds, other.seeds) > 1:
            limits, remedy = comparison.limits() if comparison else describe(other), what_would_decide(race, other)
            undecided.append(f"Not decided: {best.name} or {other.name} ({limits}). {remedy}")
        else:
            single.append(f"{other.name} ({describe(other)})")
    if single:
        undecided.append(f"Not decided, since one seed decides nothing: {best.name} or {'; '.join(single)}.")
    known = sorted(ran, key=lambda one: (one.mean_seconds, -one.accuracy))
    steps = [one for k, one in enumerate(known) if all(one.accuracy > other.accuracy for other in known[:k])]
    quicker = [one for one in steps if one.mean_seconds < QUICKER * best.mean_seconds]
    cheaper = [f"With less time, {clock(one.mean_seconds)} per run: {one.name}, {describe(one)}." for one in quicker]
    missing = [f"{one.name} {one.failed or one.left}." for one in race.candidates if one.failed or not one.seeds]
    runs, took = sum(one.seeds for one in ran), clock(sum(race.spent.values()))
    cost = f"This took {took} of {clock(race.limit)}, with {runs} run{'s' if runs > 1 else ''}."
    inside = race.folder.resolve().is_relative_to(Path(best.config["runs"]).resolve())
    place = [] if inside else [f"runs={quoted(str(race.folder / 'runs'))}"]
    command = shlex.join(["python", "-m", "flowers_tl.train", *best.words, *place])
    return Answer(headline, better, undecided, cheaper, [*missing, *left_out], cost, command)


def describe(one: Candidate, more: str = "") -> str:
    """Its validation accuracy, and of how many seeds that is."""
    seeds = f"{one.seeds} seed{'s' if one.seeds > 1 else ''}"
    return f"validation {percent(one.hits.mean(axis=1))}{more}, {seeds}"


def compared(race: Race, best: Candidate, other: Candidate) -> Comparison | None:
    """Their comparison after the seeds that both have; None with too few."""
    hits, seeds = {best.name: best.hits, other.name: other.hits}, min(best.seeds, other.seeds)
    comparison = compare_with_leader(hits, seeds, race.begun)
    return comparison[0] if comparison and comparison[0].leader == best.name else None


def what_would_decide(race: Race, other: Candidate) -> str:
    """What would decide between the leader and another with two seeds or more: so many further seeds, or more val images."""
    if (more := race.seeds_to_decide(other)) is None:
        return "More seeds alone would hardly decide it: it needs more val images, or a larger difference."
    both = (race.leader, other)
    runs = [max(0, min(one.seeds for one in both) + more - one.seeds) * one.mean_seconds for one in both]
    return f"{more} more seed{'s' if more > 1 else ''} would probably decide it, in about {clock(sum(runs))}."


def write_answer(race: Race, profiles: Sequence[StageScore], left_out: Sequence[str]) -> dict[str, Any]:
    """Log the answer; write advice.json, advice.html and the report of the tested runs; return advice.json's content."""
    said, best, folder = answer(race, left_out), race.leader, race.folder
    names = {path: one.name for one in race.candidates if one.tests for path in one.folders}
    runs, notes = find_runs(names)
    groups, repeated = group_runs(runs)
    # Everywhere by their names in the race.
    groups = [replace(group, label=names.get(group.runs[0].folder, group.label)) for group in groups]
    write_report(summarize(groups, [*notes, *repeated]), folder / "report")
    rows = [
        {"name": one.name, "validation": one.hits.mean(axis=1).tolist() if one.seeds else [], "seconds": one.seconds}
        | {"left": one.left, "runs": [str(path) for path in one.folders]}
        for one in race.candidates
    ]
    advice = {"use": best.name, **asdict(said), "budget_seconds": race.limit, "spent_seconds": race.spent}
    advice |= {"candidates": rows, "stages": [asdict(one) for one in profiles]}
    texts = {"advice.json": dumps(advice, indent=1) + "\n", "advice.html": advice_page(race, said, profiles)}
    for name, text in texts.items():
        # The folder holds this very question; its files may be written again.
        with atomic_write(folder / name) as beside:
            beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    for line in [f"{said.headline}.", *said.better, *said.undecided, *said.cheaper, *said.left_out, said.cost]:
        log.info(line)
    log.info(f"To train it again: {said.command}")
    log.info(f"Its network: {best.folders[0]}")
    log.info(f"Written: {folder / 'advice.html'}, advice.json and report/report.html beside it.")
    return advice


def advice_page(race: Race, said: Answer, stages: Sequence[StageScore]) -> str:
    """The answer as one page that needs no other file: sentences, the race and the depth profile as pictures, and tables."""
    profiles = [[one for one in stages if one.backbone == name] for name in dict.fromkeys(s.backbone for s in stages)]
    values: dict[str, Any] = {"said": said, "stages": stages, "describe": describe, "clock": clock}
    values |= {"data": race.data_name, "candidates": sorted(race.candidates, key=lambda one: -one.accuracy)}
    text = "Mean validation accuracy after each seed, by candidate; the table has the values"
    values["race"] = to_svg(draw_race(race.candidates), text)
    text = "Validation accuracy by stage; the table has the values"
    values["profiles"] = [to_svg(draw_profile(members), f"{members[0].backbone}: {text}") for members in profiles]
    return render_page(__package__, "advice.html.j2", **values)

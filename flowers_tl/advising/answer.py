"""The answer of a race: ten lines for the terminal, advice.json, and a page with the race as a picture."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from flowers_tl.advising.candidates import Candidate
from flowers_tl.advising.decisions import interval, seeds_to_decide
from flowers_tl.advising.figures import draw_profile, draw_race
from flowers_tl.advising.profile import StageScore
from flowers_tl.advising.race import Race
from flowers_tl.report import write_report
from flowers_tl.report.paired_tests import points, span
from flowers_tl.report.palette import css_variables
from flowers_tl.report.summary import summarize
from flowers_tl.report.svg import to_svg
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.scores import percent
from flowers_tl.results.statistics import FEWEST_SEEDS, Interval
from flowers_tl.runs.read_record import read_mapping
from flowers_tl.utils.files import atomic_write, dumps
from flowers_tl.utils.notes import clock, log
from flowers_tl.utils.templates import render


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

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"{self.headline}."
        yield from self.better
        yield from self.undecided
        yield from self.cheaper
        yield from self.left_out
        yield self.cost


def answer(race: Race, left_out: Sequence[str]) -> Answer:
    """Put what the race has found out into words."""
    best = race.leader
    tests = [read_mapping(folder / "result.json").get("test") for folder in best.folders]
    measured = [test["accuracy"] for test in tests if test]
    tested = f", test {percent(np.array(measured))}" if measured else ""
    seeds = f"{best.seeds} seed{'s' if best.seeds > 1 else ''}"
    headline = f"Use {best.name}: validation accuracy {percent(best.hits.mean(axis=1))}{tested} ({seeds})"
    better, undecided = [], []
    others = sorted((one for one in race.candidates if one.seeds and one is not best), key=lambda one: -one.hits.mean())
    for other in others:
        found = compared(race, best, other)
        limits = f"{points(found.value)} points, simultaneous 95 % CI {span(found)}" if found else ""
        if found and found.low > 0:
            better.append(f"It is better than {other.name} ({limits}).")
        elif found and other.left:
            better.append(f"{other.name} is not better than it by {100 * race.matters:g} points ({limits}).")
        else:
            undecided.append(
                f"Not decided: {best.name} or {other.name} ({limits or describe(other)}). {what_would_decide(race, best, other)}"
            )
    known = sorted([best, *others], key=lambda one: (np.mean(one.seconds), -one.hits.mean()))
    steps = [
        one
        for k, one in enumerate(known)
        if one.hits.mean() > max((other.hits.mean() for other in known[:k]), default=-1)
    ]
    cheaper = [
        f"In {clock(float(np.mean(one.seconds)))} per run: {one.name}, {describe(one)}."
        for one in steps
        if one is not best
    ]
    missing = [f"{one.name} is {one.left}." for one in race.candidates if not one.seeds]
    runs = sum(one.seeds for one in race.candidates)
    cost = f"This took {clock(sum(race.spent.values()))} of {clock(race.limit)}: {runs} runs, one pass of the images for each network, the test."
    command = shlex.join(["python", "-m", "flowers_tl.train", *best.words])
    return Answer(headline, better, undecided, cheaper, [*missing, *left_out], cost, command)


def describe(one: Candidate) -> str:
    """Its validation accuracy, and of how many seeds that is."""
    return f"validation {percent(one.hits.mean(axis=1))}, {one.seeds} seed{'s' if one.seeds > 1 else ''}"


def compared(race: Race, a: Candidate, b: Candidate) -> Interval | None:
    """The interval of their difference that holds together with all others of the race; None with too few seeds."""
    seeds = min(a.seeds, b.seeds)
    return interval(a.hits[:seeds], b.hits[:seeds], len(race.candidates)) if seeds >= FEWEST_SEEDS else None


def what_would_decide(race: Race, best: Candidate, other: Candidate) -> str:
    """What would decide between two: so many seeds, or more val images."""
    seeds = min(best.seeds, other.seeds)
    if seeds < 2:
        return f"One seed decides nothing: {FEWEST_SEEDS - seeds} more are needed."
    more = seeds_to_decide(best.hits[:seeds], other.hits[:seeds], len(race.candidates))
    if more is None:
        return "More seeds alone would hardly decide it: it needs more val images, or a larger difference."
    took = more * float(np.mean(other.seconds)) + (more - best.seeds + other.seeds) * float(np.mean(best.seconds))
    return f"{more} more seed{'s' if more > 1 else ''} would probably decide it, in about {clock(max(took, 1))}."


def write_answer(folder: Path, race: Race, profiles: Sequence[StageScore], left_out: Sequence[str]) -> dict[str, Any]:
    """Log the answer; write advice.json, advice.html and the report of the tested runs; return advice.json's content."""
    said, best = answer(race, left_out), race.leader
    tested = [one for one in race.candidates if any("test" in read_mapping(f / "result.json") for f in one.folders)]
    runs, notes = find_runs([f for one in tested for f in one.folders])
    groups, repeated = group_runs(runs)
    write_report(summarize(groups, [*notes, *repeated]), folder / "report")
    rows = [
        {
            "name": one.name,
            "validation": one.hits.mean(axis=1).round(4).tolist() if one.seeds else [],
            "seconds": one.seconds,
        }
        | {"left": one.left, "runs": [str(path) for path in one.folders]}
        for one in race.candidates
    ]
    advice = {"use": best.name, **asdict(said), "budget_seconds": race.limit, "spent_seconds": race.spent}
    advice |= {"candidates": rows, "stages": [asdict(one) for one in profiles]}
    figures = {
        "race": to_svg(
            draw_race(race.candidates),
            "Mean validation accuracy after each seed, by candidate; the table has the values",
        ),
        "profiles": [
            to_svg(
                draw_profile(members),
                f"Validation accuracy by stage of {members[0].backbone}; the table has the values",
            )
            for members in by_backbone(profiles)
        ],
    }
    css = Markup((files("flowers_tl.report") / "templates" / "page.css").read_text(encoding="utf-8"))
    order = sorted(race.candidates, key=lambda one: -one.hits.mean() if one.seeds else 1)
    values = {
        "said": said,
        "candidates": order,
        "stages": profiles,
        "describe": describe,
        "clock": clock,
        "mean": np.mean,
    }
    page = render(
        __package__,
        "advice.html.j2",
        **values,
        **figures,
        css=css,
        palette=Markup(css_variables()),
        data=race.data_name,
    )
    texts = {"advice.json": dumps(advice, indent=1) + "\n", "advice.html": page}
    for name, text in texts.items():
        # The folder holds this very question; its files may be written again.
        with atomic_write(folder / name) as beside:
            beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    for line in said.lines():
        log.info(line)
    log.info(f"To train it again: {said.command}")
    log.info(f"Its network: {best.folders[0]}")
    log.info(f"Written: {folder / 'advice.html'}, advice.json and report/report.html beside it.")
    return advice


def by_backbone(profiles: Sequence[StageScore]) -> list[list[StageScore]]:
    """The scores of each backbone."""
    return [[one for one in profiles if one.backbone == name] for name in dict.fromkeys(p.backbone for p in profiles)]

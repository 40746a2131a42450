"""The page as one file: sections, style, script, data and images, with nothing to fetch."""

import re
from importlib.resources import files
from pathlib import Path

from flowers_tl.report import galleries, plots, sections
from flowers_tl.report.html import Html, element, joined, listed
from flowers_tl.report.paired_tests import Comparison, Comparisons
from flowers_tl.report.recommendation import headline
from flowers_tl.report.summary import Entry, Facts
from flowers_tl.report.thumbnails import Thumbnails
from flowers_tl.utils.strict_json import dumps


def to_html(facts: Facts, found: list[Comparison], comparisons: Comparisons) -> str:
    """The whole page; ``found`` are the comparisons of the best by val with every other group."""
    curves, values = plots.curves(facts)
    data = {"curves": values}
    body = [
        sections.advice(facts, comparisons),
        sections.groups(facts),
        sections.tests(facts, found, comparisons),
        curves,
        plots.costs(facts),
    ]
    if facts.answered:
        species, data["species"] = galleries.by_species(facts, baseline(facts))
        best, thumbnails = facts.answered[0], Thumbnails(roots(facts))
        body += [
            species,
            galleries.confused(facts, best, thumbnails),
            galleries.mistakes(facts, best, thumbnails),
            plots.calibration(facts),
        ]
    body.append(sections.provenance(facts))
    return fill(
        "page.html",
        style=resource("page.css"),
        script=resource("page.js"),
        data=embed(data),
        headline=element("p", headline(facts, comparisons), class_="headline"),
        scope=element("p", scope(facts), class_="scope"),
        contents=contents(body),
        sections=joined(body),
    )


def scope(facts: Facts) -> str:
    """What the page is about, in a line."""
    runs = [run for entry in facts.entries for run in entry.group.runs]
    data = {sections.described_data(run.result) for run in runs}
    groups = f"{len(facts.entries)} group{'s' if len(facts.entries) > 1 else ''}"
    told = f"{groups}, {len(runs)} run{'s' if len(runs) > 1 else ''}"
    return f"{told}. {'; '.join(sorted(data))}."


def baseline(facts: Facts) -> Entry:
    """What the best is set against by species: the group that learns fewest parameters, or the next by val."""
    best, *others = facts.answered
    least = min(facts.answered, key=lambda entry: entry.trainable)
    return least if least is not best else (others or [best])[0]


def roots(facts: Facts) -> list[Path | None]:
    """Where the images may lie."""
    return [run.image_root for entry in facts.answered for run in entry.group.runs]


def contents(body: list[Html]) -> Html:
    """Links to the sections, from their own headings."""
    headings = [re.search(r'<h2 id="(.*?)-title">(.*?)</h2>', part) for part in body]
    return listed(element("a", Html(found[2]), href=f"#{found[1]}") for found in headings)


def embed(data: object) -> Html:
    """JSON that can stand inside a script element: no text in it can end the element."""
    written = dumps(data, separators=(",", ":"), ensure_ascii=False)
    return Html(written.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def fill(skeleton: str, **parts: str) -> str:
    """Put the parts into the skeleton, in one pass: braces that a part brings mean nothing."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], resource(skeleton))


def resource(name: str) -> str:
    """A file in templates/."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")

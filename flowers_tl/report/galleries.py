"""The page's sections on species and single images: gains and losses, confused pairs, the worst mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowers_tl.report import class_errors as species
from flowers_tl.report.html import Cell, Column, Html, breakable, element, joined, table
from flowers_tl.report.paired_tests import points
from flowers_tl.report.sections import paragraph, section
from flowers_tl.report.summary import Entry, Facts
from flowers_tl.report.thumbnails import Thumbnails
from flowers_tl.results.load_runs import percent

PAIRS, MISTAKES, EXTREMES = 8, 24, 6  # so there are 40 images at most, of a few kilobytes each


def by_species(facts: Facts, baseline: Entry) -> tuple[Html, dict[str, Any]]:
    """Two groups by species; the page changes the groups with the data that come along."""
    entries, data = facts.answered, species_data(facts)
    first, second = entries[0], baseline
    boxes = [
        element("label", title, choice(name, entries, chosen))
        for title, name, chosen in (("this group", "first", first), ("against", "second", second))
    ]
    said = (
        "Share of each species' test images that are named rightly, mean over the seeds. Species have few images: "
        "among so many the extremes are partly chance."
    )
    return section(
        "species",
        "Accuracy by species",
        paragraph(said),
        element("div", *boxes, class_="choices"),
        element("div", *extremes(data, first, second), class_="panels two extremes"),
        element("div", species_table(data, first, second), class_="tall"),
    ), data


def species_data(facts: Facts) -> dict[str, Any]:
    """Names, images and accuracies by group of the species that have test images."""
    labels = facts.test.labels
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    accuracies = {e.number: species.class_accuracy(e.answers, labels, len(counts))[present] for e in facts.answered}
    return {
        "labels": {str(entry.number): entry.label for entry in facts.answered},
        "names": [facts.name(k) for k in present],
        "counts": counts[present].tolist(),
        "accuracies": {str(number): np.round(values, 5).tolist() for number, values in accuracies.items()},
        "extremes": EXTREMES,
    }


def species_lines(data: dict[str, Any], first: Entry, second: Entry) -> list[tuple[str, int, float, float]]:
    """Name, images and both accuracies, the largest gain of the first over the second first."""
    both = (data["accuracies"][str(entry.number)] for entry in (first, second))
    lines = zip(data["names"], data["counts"], *both, strict=True)
    return sorted(lines, key=lambda line: line[3] - line[2])


def species_table(data: dict[str, Any], first: Entry, second: Entry) -> Html:
    head = [
        Column("species", number=False),
        Column("images"),
        Column(element("span", breakable(first.label), class_="first")),
        Column(element("span", breakable(second.label), class_="second")),
        Column("difference, points", order="descending"),
    ]
    rows = [
        [
            name,
            Cell(f"{count:,}", count),
            Cell(f"{100 * a:.1f} %", a),
            Cell(f"{100 * b:.1f} %", b),
            Cell(points(a - b), a - b),
        ]
        for name, count, a, b in species_lines(data, first, second)
    ]
    return table(head, rows, "All species", id="all-species")


def extremes(data: dict[str, Any], first: Entry, second: Entry) -> list[Html]:
    """The species that gain most, and those that lose most."""
    lines = species_lines(data, first, second)
    gains = [extreme(*line) for line in lines[:EXTREMES] if line[2] > line[3]]
    losses = [extreme(*line) for line in lines[::-1][:EXTREMES] if line[2] < line[3]]
    return [
        element("div", element("h3", title), element("ol", *[element("li", item) for item in items], id=name))
        for title, name, items in (("Gain most", "gains", gains), ("Lose most", "losses", losses))
    ]


def choice(name: str, entries: Sequence[Entry], chosen: Entry) -> Html:
    options = [element("option", e.label, value=e.number, selected=e is chosen) for e in entries]
    return element("select", *options, id=name)


def extreme(name: str, count: int, a: float, b: float) -> Html:
    """One species with a gain or a loss; page.js writes the same."""
    sign = "+" if a > b else ""
    return joined(
        [
            element("span", name, class_="name"),
            element("span", f"{sign}{points(a - b)} points", class_="gap"),
            element("small", f"{100 * b:.1f} to {100 * a:.1f} %, {count:,} images"),
        ]
    )


def confused(facts: Facts, best: Entry, thumbnails: Thumbnails) -> Html:
    """The pairs that are taken for one another most often, with an image of each."""
    counts = np.bincount(facts.test.labels)
    cards = []
    for pair in species.most_confused(best.answers, facts.test.labels, PAIRS):
        sides = ((pair.first, pair.second, pair.there), (pair.second, pair.first, pair.back))
        images = []
        for label, other, times in sides:
            support = counts[label] if label < len(counts) else 0
            said = element("small", f"{amount(times)} of {support:,} taken for {facts.name(other)}")
            shown = typical(facts, best, label, thumbnails)
            images.append(element("div", shown, element("strong", facts.name(label)), said))
        cards.append(element("figure", *images, class_="card pair"))
    seeds = ", mean over its seeds" if len(best.group.runs) > 1 else ""
    said = (
        f"Species that {best.label} takes for one another most often{seeds}. The image of a species is the "
        "one that it is surest of."
    )
    body = [paragraph(said), element("div", *cards, class_="cards wide")] if cards else [paragraph("No mistakes.")]
    return section("confused", "Most confused pairs", *body)


def typical(facts: Facts, best: Entry, label: int, thumbnails: Thumbnails) -> Html:
    """An image of the species."""
    found = species.typical(best.answers, facts.test.labels, label)
    if not found:
        return element("div", "no test image", class_="no-picture")
    return thumbnails.show(facts.test.images[found[0]], facts.name(label))


def amount(count: float) -> str:
    """A mean of counts: whole where it is."""
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"


def mistakes(facts: Facts, best: Entry, thumbnails: Thumbnails) -> Html:
    """The surest wrong answers."""
    cards = []
    for one in species.worst_mistakes(best.answers, facts.test.labels, MISTAKES):
        true, answer = facts.name(one.label), facts.name(one.answer)
        shown = thumbnails.show(facts.test.images[one.image], f"{true}, taken for {answer}")
        seeds = len(best.group.runs)
        wrong = f", wrong in {one.seeds_wrong} of {seeds} seeds" if seeds > 1 else ""
        said = element(
            "figcaption",
            element("span", "taken for ", element("strong", answer)),
            element("span", "is ", element("strong", true)),
            element("small", f"confidence {percent(np.array([one.confidence]))}{wrong}"),
        )
        cards.append(element("figure", shown, said, class_="card"))
    said = (
        f"Test images to which {best.label} gives a wrong name with the highest confidence (mean of its seeds' "
        "probabilities). Some may be labelled wrongly."
    )
    hidden = thumbnails.explanation()
    body = [paragraph(said), element("div", *cards, class_="cards")] if cards else [paragraph("No mistakes.")]
    return section("mistakes", "Worst mistakes", *body, paragraph(hidden, class_="note") if hidden else "")

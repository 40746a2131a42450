"""The page's sections of words and tables: advice, the table of groups, tests between them, provenance."""

from collections.abc import Sequence

from flowers_tl.report import table as columns
from flowers_tl.report.charts import style
from flowers_tl.report.html import Cell, Column, Html, breakable, element, joined, listed, table
from flowers_tl.report.paired_tests import Comparison, Comparisons, p_value, points
from flowers_tl.report.recommendation import Road, by_size, capital, cautions, roads
from flowers_tl.report.summary import Entry, Facts
from flowers_tl.results.protocol import describe

MATRIX = 8  # groups: all pairs of more than that are no longer read, nor a sentence on each


def section(name: str, title: str, *parts: object) -> Html:
    return element(
        "section", element("h2", title, id=f"{name}-title"), *parts, id=name, aria_labelledby=f"{name}-title"
    )


def paragraph(*parts: object, class_: str | None = None) -> Html:
    return element("p", *parts, class_=class_)


def named(entry: Entry) -> Html:
    """A group's label with its colour before it."""
    return joined([element("span", class_=f"swatch {style(entry)}", aria_hidden="true"), breakable(entry.label)])


def advice(facts: Facts, comparisons: Comparisons) -> Html:
    """The choices as time and as learning parameters grow, for each number of training images."""
    parts = []
    for size, entries in by_size(facts):
        found = roads(entries, comparisons)
        if len(by_size(facts)) > 1:
            parts.append(element("h3", "Training images: " + ("not on record" if size is None else f"{size:,}")))
        if len(entries) == 1:
            parts.append(paragraph(f"Only {entries[0].label} was run here, so no budget has a choice."))
        elif found:
            parts.append(element("div", *map(draw_road, found), class_="roads"))
        else:
            parts.append(paragraph("Nothing is chosen, as none of these runs was measured on val."))
    return section("advice", "Advice", *parts, listed(cautions(facts), class_="cautions"))


def draw_road(road: Road) -> Html:
    steps = [
        joined(
            [
                element("span", step.budget, class_="budget"),
                element("strong", step.label),
                element("span", step.scores, class_="scores"),
                element("span", step.evidence, class_="evidence") if step.evidence else "",
            ]
        )
        for step in road.steps
    ]
    return element(
        "div",
        element("h3", road.title),
        listed(steps, "ol", class_="steps"),
        paragraph(road.rest(), class_="passed") if road.passed_over else "",
    )


def groups(facts: Facts) -> Html:
    """The table of groups."""
    rows = []
    for entry in facts.entries:
        rows.append([named(entry), *columns.row(entry, facts)[1:]])
    several = any(len(entry.group.runs) > 1 for entry in facts.entries)
    spread = "Mean ± standard deviation over the seeds where there are several. " if several else ""
    said = f"{spread}{columns.over(facts)} A dash is what was not measured. The headers sort."
    return section(
        "table", "The table", paragraph(said), table(columns.columns(facts), rows, "All groups", id="groups")
    )


def tests(facts: Facts, found: Sequence[Comparison], comparisons: Comparisons) -> Html:
    """The best by val against every other, and all pairs where they are few."""
    if not found:
        why = "There is one group." if len(facts.entries) == 1 else "Too few groups have answers by image on record."
        return section("tests", "Tests between strategies", paragraph(f"{why} So nothing is tested."))
    best = found[0].first
    sentences = listed([f"{capital(comparison.sentence())}." for comparison in found], class_="sentences")
    if len(found) > MATRIX:
        sentences = element("details", element("summary", f"In {len(found)} sentences"), sentences)
    parts = [
        paragraph(
            f"{best.label}, {role(facts, best)}, against every other: difference of test accuracies, same images."
        ),
        sentences,
        details_table(found),
        paragraph(explain(found), class_="note"),
    ]
    if 2 < len(facts.answered) <= MATRIX:
        parts += [element("h3", "All pairs"), matrix(facts.answered, comparisons)]
    return section("tests", "Tests between strategies", *parts)


def role(facts: Facts, best: Entry) -> str:
    """Why the others are set against this one."""
    if facts.chosen is None:
        return "which learns fewest parameters, as none was measured on val"
    return "the best by val" if best is facts.chosen else "the best by val of those with answers by image on record"


def details_table(found: Sequence[Comparison]) -> Html:
    """The numbers behind the sentences."""
    head = [
        Column(joined([breakable(found[0].first.label), " against"]), number=False),
        Column("difference, points"),
        Column("95 % interval"),
        Column("interval is over", number=False),
        Column("McNemar by seed: only this right, only that right, p after Holm", number=False),
    ]
    rows = []
    for c in found:
        by_seed = [
            f"seed {one.seed}: {one.test.only_a:,} against {one.test.only_b:,}, p {p_text(one.adjusted)}"
            for one in c.tests
        ]
        rows.append(
            [
                named(c.second),
                Cell(points(c.interval.value), c.interval.value),
                f"{points(c.interval.low)} to {points(c.interval.high)}",
                c.interval.over,
                Cell(joined(element("span", line, class_="line") for line in by_seed) or "no seed in common"),
            ]
        )
    return table(head, rows, f"{found[0].first.label} against every other group", sortable=False)


def p_text(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def explain(found: Sequence[Comparison]) -> str:
    """How intervals and p-values of these comparisons are meant."""
    count = sum(len(comparison.tests) for comparison in found)
    said = ["Each interval stands for itself at 95 %."]
    if len(found) > 1:
        said.append("Among many, one in twenty misses the truth.")
    if count:
        corrected = f", corrected by Holm's method for the {count} tests of this table" if count > 1 else ""
        said.append(f"The p-values are McNemar's exact test{corrected}; each speaks of two runs, not of other seeds.")
    if any(comparison.interval.over == "images" for comparison in found):
        said.append("With one seed the interval is over images only: another seed could end elsewhere.")
    if any(comparison.first.seeds != comparison.second.seeds for comparison in found):
        said.append("Groups with unlike seeds are compared without pairing the seeds.")
    return " ".join(said)


def matrix(entries: Sequence[Entry], comparisons: Comparisons) -> Html:
    """Row less column in points, and the interval."""
    head = [Column("row less column, points", number=False), *(Column(breakable(entry.label)) for entry in entries)]
    rows = []
    for first in entries:
        cells: list[object] = [named(first)]
        for second in entries:
            if first is second:
                cells.append(Cell("", class_="self"))
                continue
            c = comparisons.between(first, second)
            span = f"{points(c.interval.low)} to {points(c.interval.high)}"
            cells.append(Cell(points(c.interval.value), None, span, "decided" if c.decided else "undecided"))
        rows.append(cells)
    note = paragraph("Bold: the interval leaves out zero. The others are not decided by these runs.", class_="note")
    return joined([table(head, rows, "All pairs of groups", sortable=False), note])


def provenance(facts: Facts) -> Html:
    """What was run on what, where it is recorded, and how the numbers come about."""
    runs = [run for entry in facts.entries for run in entry.group.runs]
    rows = [
        [
            run.folder.name,
            entry.label,
            Cell(run.result["seed"], float(run.result["seed"])),
            run.result.get("backbone", "-"),
            run.result.get("weights", "-"),
            "yes" if entry.answers is not None else "no",
        ]
        for entry in facts.entries
        for run in entry.group.runs
    ]
    head = [Column(name, number=name == "seed") for name in ("run folder", "group", "seed", "network", "weights")]
    versions = {tuple(sorted(run.result.get("versions", {}).items())) for run in runs}
    told = [", ".join(f"{name} {version}" for name, version in found) or "not on record" for found in sorted(versions)]
    parts = [
        element("h3", "Data"),
        listed(measured_on(facts)),
        element("h3", "How the numbers come about"),
        listed(METHOD),
        element("h3", "Packages"),
        listed(told),
        *([element("h3", "Notes"), listed(facts.notes)] if facts.notes else []),
        element("h3", "Runs"),
        table([*head, Column("answers by image", number=False)], rows, "All runs", id="runs"),
    ]
    return section("provenance", "Protocol and provenance", *parts)


def measured_on(facts: Facts) -> list[str]:
    """The data and the protocols of all runs."""
    results = [run.result for entry in facts.entries for run in entry.group.runs]
    return sorted(set(map(described_data, results)) | set(map(described_protocol, results)))


def described_data(result: dict) -> str:
    """Name and sizes of a run's data."""
    data = result.get("data", {})
    sizes = [f"{data[split]:,} {split}" for split in ("train", "val", "test") if split in data]
    return f"{data.get('name', 'not on record')}: {', '.join(sizes)} images" if sizes else "not on record"


def described_protocol(result: dict) -> str:
    """Under which protocol a run was measured, and the fingerprints of its images."""
    protocol = result.get("protocol")
    if protocol is None:
        return "no recorded protocol"
    prints = ", ".join(f"{split} {value}" for split, value in protocol.get("splits", {}).items())
    return f"{describe(protocol)}, measured by {protocol.get('metric')}; fingerprints of the images: {prints}"


METHOD = (
    "A strategy is chosen by val accuracy alone, mean over its seeds; of equals the one that learns fewer parameters.",
    "Intervals speak of new images of the same kind and, where a group has several seeds, of new seeds too; "
    "docs/statistics.md says how they are computed.",
    "Two groups with the same seeds are compared seed by seed and image by image, others image by image.",
    "Balanced accuracy is the mean of the recalls by species. The calibration error has 15 bins of equal width.",
    "Confused pairs, worst mistakes and accuracy by species are means over the seeds of a group; all are on test images.",
    "docs/report.md says how to read the page.",
)

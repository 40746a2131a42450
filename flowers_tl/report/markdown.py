"""The report's tables and sentences as Markdown."""

from collections.abc import Iterable, Sequence

from flowers_tl.report import table as columns
from flowers_tl.report.paired_tests import Comparison, Comparisons, points
from flowers_tl.report.recommendation import Road, by_size, capital, cautions, headline, roads
from flowers_tl.report.sections import METHOD, explain, measured_on
from flowers_tl.report.summary import Facts


def to_markdown(facts: Facts, found: Sequence[Comparison], comparisons: Comparisons) -> str:
    """The whole page; ``found`` are the comparisons of the best by val with every other group."""
    lines = ["# Report", "", plain(headline(facts, comparisons)), "", "## Advice", ""]
    for size, entries in by_size(facts):
        if len(by_size(facts)) > 1:
            lines += ["### Training images: " + ("not on record" if size is None else f"{size:,}"), ""]
        for road in roads(entries, comparisons):
            lines += [*advised(road), ""]
    lines += [*bullets(cautions(facts)), "", "## The table", ""]
    lines += grid(
        [str(c.title) for c in columns.columns(facts)], (columns.markdown_row(e, facts) for e in facts.entries)
    )
    lines += ["", columns.over(facts), "", "## Tests between strategies", ""]
    if found:
        lines += bullets(f"{capital(comparison.sentence())}." for comparison in found)
        lines += ["", *tested(found), "", explain(found)]
    else:
        lines.append("Nothing is tested.")
    lines += ["", "## Protocol", "", *bullets([*measured_on(facts), *METHOD, *facts.notes])]
    return "\n".join(lines) + "\n"


def advised(road: Road) -> list[str]:
    """The steps of one budget."""
    lines = [f"{road.title}:", ""]
    for step in road.steps:
        evidence = f" {plain(step.evidence)}" if step.evidence else ""
        lines.append(f"- {step.budget}: **{plain(step.label)}**, {step.scores}.{evidence}")
    if road.passed_over:
        lines.append(f"- {plain(road.rest())}")
    return lines


def tested(found: Sequence[Comparison]) -> list[str]:
    """The numbers behind the sentences; p as corrected by Holm's method."""
    header = [f"{found[0].first.label} against", "difference, points", "95 % interval", "over", "p by seed, after Holm"]
    rows = [
        [
            c.second.label,
            points(c.interval.value),
            f"{points(c.interval.low)} to {points(c.interval.high)}",
            c.interval.over,
            ", ".join(f"{one.seed}: {one.adjusted:.3g}" for one in c.tests) or "-",
        ]
        for c in found
    ]
    return grid(header, rows)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(plain(cell) for cell in line) + " |" for line in lines]


def bullets(sentences: Iterable[str]) -> list[str]:
    return [f"- {plain(sentence)}" for sentence in sentences]


def plain(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no table cell and no line ends in it."""
    for character in "\\`<>|[]":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())

"""The report of a comparison: one HTML page that needs no other file, its numbers as CSV, its sentences as Markdown."""

from pathlib import Path

from flowers_tl.report.markdown import to_markdown
from flowers_tl.report.paired_tests import Comparisons
from flowers_tl.report.recommendation import by_size, headline, roads
from flowers_tl.report.render import to_html
from flowers_tl.report.summary import Facts, measure
from flowers_tl.report.table import to_csv
from flowers_tl.utils.overwriting import validate_overwrite

FILES = ("report.html", "report.csv", "report.md")
SIGN = "Report of flowers_tl</title>"  # in the page, by which it is told from a user's own

__all__ = ["Comparisons", "advise", "measure", "write_report"]


def advise(facts: Facts, comparisons: Comparisons) -> list[str]:
    """Which strategy at which budget, in lines for a terminal; see :mod:`flowers_tl.report.recommendation`."""
    lines = [headline(facts, comparisons)]
    if len(facts.entries) > 1:
        for size, entries in by_size(facts):
            among = f", of {size:,} training images" if len(by_size(facts)) > 1 and size is not None else ""
            for road in roads(entries, comparisons):
                lines.append(f"{road.title}{among}:")
                lines += [
                    f"  {step.budget}: {step.label}, {step.scores}. {step.evidence}".rstrip() for step in road.steps
                ]
    return lines


def write_report(facts: Facts, comparisons: Comparisons, folder: str | Path) -> Path:
    """Write ``report.html``, ``report.csv`` and ``report.md`` into the folder; return the page.

    The same runs give the same files: nothing in them depends on the time or on this machine.

    Raises:
        UserError: if the folder holds such files that are not a report.
    """
    validate_overwrite(Path(folder), FILES, SIGN, "report")
    found = comparisons.against(facts.answered[0], facts.answered) if facts.answered else []
    texts = (to_html(facts, found, comparisons), to_csv(facts, found), to_markdown(facts, found, comparisons))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(FILES, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / "report.html"

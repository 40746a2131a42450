"""The report of a comparison: one HTML page that needs no other file, its numbers as CSV, its sentences as Markdown."""

from pathlib import Path

from flowers_tl.report.answer import answer
from flowers_tl.report.paired_tests import compare_with_others
from flowers_tl.report.paper import paper_files
from flowers_tl.report.recommendation import by_train_images, recommend
from flowers_tl.report.render import render_html, render_markdown, shared_values
from flowers_tl.report.summary import ComparisonSummary, summarize
from flowers_tl.report.table import to_csv
from flowers_tl.utils.errors import shorten
from flowers_tl.utils.files import atomic_folder, validate_overwrite

FILES = ("report.html", "report.csv", "report.md", "report.tex", "references.bib", "per_run.csv", "per_class.csv")
# Words in the page that a user's file does not have.
REPORT_MARK = "Report of flowers_tl</title>"

__all__ = ["FILES", "REPORT_MARK", "recommendation_lines", "summarize", "write_report"]


def recommendation_lines(summary: ComparisonSummary) -> list[str]:
    """The answer, and which strategy at which budget, in lines for a terminal."""
    said, sizes = answer(summary), by_train_images(summary)
    lines = [f"{said.headline}.", said.decision, said.numbers, *said.few_seeds, said.command]
    for size in sizes if len(summary.strategies) > 1 else ():
        count = size.strategies[0].train_images
        among = f", of {count:,} training images" if len(sizes) > 1 and count is not None else ""
        for recommendation in recommend(size):
            lines.append(f"{recommendation.title}{among}:")
            for step in recommendation.steps:
                if step.decided:
                    lines.append(f"  {step.budget}: {step.label}, {step.scores}. {step.evidence}".rstrip())
            if undecided := [step.label for step in recommendation.steps if not step.decided]:
                lines.append(f"  More expensive, without a significant gain: {shorten(undecided)}.")
    return [line for line in lines if line]


def write_report(summary: ComparisonSummary, folder: str | Path, root: Path | None = None) -> Path:
    """Write :data:`FILES` into the folder; return the page.

    Images are those below ``root``, else below the folder that a run names, if they are the very ones that it was tested on.

    The same runs give the same files: nothing in them depends on the time or on this machine.

    Raises:
        UserError: if the folder holds such files that are not a report.
    """
    validate_overwrite(Path(folder), FILES, REPORT_MARK, "report")
    differences = compare_with_others(summary)
    values = shared_values(summary, differences)
    texts = {
        "report.html": render_html(summary, values, root),
        "report.csv": to_csv(summary, differences),
        "report.md": render_markdown(values),
        **paper_files(summary, differences),
    }
    with atomic_folder(Path(folder)) as beside:
        for name, text in texts.items():
            (beside / name).write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return Path(folder) / "report.html"

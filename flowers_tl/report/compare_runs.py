"""Runs side by side: a table and advice for the terminal, Markdown and curves as files, and the report."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from flowers_tl.data.exclusions import read_exclusions
from flowers_tl.report import FILES, REPORT_MARK, recommendation_lines, write_report
from flowers_tl.report.curves import draw_curves
from flowers_tl.report.excluded_images import describe_exclusion
from flowers_tl.report.figures import read_formats, write_figures
from flowers_tl.report.render import render_comparison
from flowers_tl.report.summary import ComparisonSummary, summarize
from flowers_tl.results.folds import join_folds
from flowers_tl.results.load_runs import Run, find_runs, group_runs
from flowers_tl.results.protocol import by_protocol
from flowers_tl.results.scores import METRICS, Metric, read_monitor
from flowers_tl.results.terminal_tables import print_comparison
from flowers_tl.utils.files import atomic_folder, named_if_unwritable, new_folder, validate_overwrite
from flowers_tl.utils.notes import log


def compare_runs(
    folders: Sequence[Path],
    out: Path | None = None,
    report: Path | None = None,
    root: Path | None = None,
    allow_mixed: bool = False,
    figures: str = "",
    exclude: Path | None = None,
    monitor: str | None = None,
) -> None:
    """Compare the runs in or below the folders: log a table for each protocol, and write it with the curves.

    Args:
        folders: of runs, or of folders with runs below them.
        out: where comparison.md and comparison.png go; None is the one folder that is named, else a new one in outputs.
        report: where the report goes; None is the folder ``report`` in ``out``.
        root: of the images in the report; None is the folder that a run names.
        allow_mixed: whether runs of unlike protocols are shown, each in another table.
        exclude: an audit.csv; notes say what accuracy is without the test images that it leaves out.
        figures: formats of the figures that are written beside comparison.md, separated by commas.
        monitor: by what the best is selected, see :func:`find_metric`.

    Raises:
        UserError: if there are no runs, they can't be compared, or the files can't be written.
    """
    single_runs, unfinished = find_runs(folders)
    runs, joined = join_folds(single_runs)
    protocols, metric = by_protocol(runs, allow_mixed), find_metric(runs, monitor)
    formats, exclusions = read_formats(figures), read_exclusions(exclude) if exclude else None
    several = len(protocols) > 1
    suffixes = ["", *(f"_{number}" for number in range(2, len(protocols) + 1))]
    parts = [str(number) for number in range(1, len(protocols) + 1)] if several else [""]
    out = out or (Path(folders[0]) if len(folders) == 1 else None)
    if out:
        names = ["comparison.md", *(f"comparison{suffix}.png" for suffix in suffixes)]
        validate_overwrite(out, names, "](comparison.png)", "out")
    if parent := report or (out and out / "report"):
        for part in parts:
            validate_overwrite(parent / part, FILES, REPORT_MARK, "report")
    pages, summaries = [], []
    with named_if_unwritable(out or "outputs"):
        out = out or new_folder("comparison")
    with atomic_folder(out) as beside:
        for suffix, (protocol, members) in zip(suffixes, protocols, strict=True):
            if several:
                log.info(f"With {protocol}:")
            groups, notes = group_runs(members, metric)
            # Of all runs, so in the first table.
            summary = summarize(groups, notes if suffix else [*unfinished, *joined, *notes], metric)
            summary.notes.extend(describe_exclusion(summary, exclusions) if exclusions else ())
            print_summary(summary)
            draw_curves(summary.strategies, beside / f"comparison{suffix}.png")
            write_figures(summary, beside, formats, suffix)
            page = render_comparison(summary, f"comparison{suffix}.png")
            pages.append(f"With {protocol}\n\n" * several + page)
            summaries.append(summary)
        (beside / "comparison.md").write_text("\n".join(pages), encoding="utf-8", errors="backslashreplace")
    log.info(f"Written: {out / 'comparison.md'} and {out / 'comparison.png'}")
    for summary, part in zip(summaries, parts, strict=True):
        log.info(f"Report: {write_report(summary, (report or out / 'report') / part, root)}")


def print_summary(summary: ComparisonSummary) -> None:
    """Log the table of the strategies, the recommendation and the notes."""
    print_comparison(summary.strategies, summary.metric, summary.best.label if summary.best else None)
    for line in [*recommendation_lines(summary), *(f"Note: {note}" for note in summary.notes)]:
        log.info(wrap(line))


def find_metric(runs: Sequence[Run], monitor: str | None = None) -> Metric:
    """The metric of ``monitor``, else the one that all runs monitored, else accuracy. Raises UserError for an unknown one."""
    named = {str(run.config.get("monitor")) for run in runs}
    known = [name for name in named if any(name == f"val/{metric.name}" for metric in METRICS)]
    return read_monitor(monitor or (known[0] if len(named) == len(known) == 1 else "val/accuracy"))


def wrap(line: str) -> str:
    """Lines of at most 100 characters, in which a number keeps its «%»; a command is to be copied, so it stays in one line."""
    wrapped = fill(line.replace(" %", "\u00a0%"), 100, subsequent_indent="    ").replace("\u00a0%", " %")
    return line if line.startswith("python ") else wrapped

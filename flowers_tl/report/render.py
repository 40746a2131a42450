"""The report as HTML and as Markdown: what the templates show, and the templates filled with it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

import flowers_tl.report.class_errors as class_errors
from flowers_tl.report.answer import answer
from flowers_tl.report.charts import tenths
from flowers_tl.report.figures import chart_values, confusion_figure
from flowers_tl.report.paired_tests import PairedDifference, compare, name_interval, points, span
from flowers_tl.report.palette import css_class, render_page
from flowers_tl.report.recommendation import by_train_images, cautions, recommend, size_title
from flowers_tl.report.summary import ComparisonSummary, StrategySummary, remove_folders
from flowers_tl.report.svg import to_svg
from flowers_tl.report.table import describe_intervals, table_columns
from flowers_tl.report.thumbnails import load_thumbnails
from flowers_tl.results.load_runs import Run
from flowers_tl.results.protocol import describe_protocol, fingerprints, split_sizes
from flowers_tl.results.terminal_tables import comparison_table
from flowers_tl.utils.templates import render

# All pairs of more groups than that can't be read, nor a sentence on each.
MATRIX = 8
SECTIONS = {
    "table": "All strategies",
    "tests": "Significance tests",
    "recommendation": "Recommendation by budget",
    "curves": "Learning curves",
    "costs": "Accuracy against time and parameters",
    "classes": "Accuracy by class",
    "confused": "Most confused classes",
    "mistakes": "Worst mistakes",
    "reliability": "Calibration",
    "provenance": "Protocol and provenance",
}
NEED_PREDICTIONS = ("classes", "confused", "mistakes", "reliability")
NEED_RIVALS = ("tests", "recommendation", "costs")


def render_comparison(summary: ComparisonSummary, figure: str) -> str:
    """The short comparison as Markdown: table, curves and notes."""
    header, rows = comparison_table(summary.strategies, summary.metric)
    return render(__package__, "comparison.md.j2", header=header, rows=rows, notes=summary.notes, figure=figure)


def render_markdown(values: Mapping[str, Any]) -> str:
    """The report's sentences and tables, of :func:`shared_values`."""
    rows = [[column.cell(strategy) for column in values["columns"]] for strategy in values["summary"].strategies]
    test_rows = [difference_row(difference) for difference in values["differences"]]
    return render(__package__, "report.md.j2", **values, rows=rows, test_rows=test_rows)


def difference_row(difference: PairedDifference) -> list[str]:
    """The numbers behind a sentence of the Markdown; p-values as corrected by Holm's method."""
    interval = difference.interval
    p_values = ", ".join(f"{seed}: {test.p:.3g}" for seed, test in difference.tests.items())
    limits = [points(interval.value), span(interval), format_part(difference.fewer_errors)]
    return [difference.second.label, *limits, interval.over, p_values or "-"]


def format_part(part: float) -> str:
    """A part in percent, or a dash where there is none."""
    return f"{points(part, 0)} %" if np.isfinite(part) else "-"


def render_html(summary: ComparisonSummary, values: Mapping[str, Any], root: Path | None = None) -> str:
    """The whole page, of :func:`shared_values`: style, script, data, charts and images, which lie below ``root``, are inside."""
    single = len(summary.strategies) == 1
    hidden = (() if summary.with_predictions else NEED_PREDICTIONS) + (NEED_RIVALS if single else ())
    contents = SECTIONS | ({"table": "Scores"} if single else {})
    page = {
        "scope": describe_scope(summary),
        "role": describe_role(summary),
        "matrix": build_matrix(summary),
        "max_sentences": MATRIX,
        "contents": {name: title for name, title in contents.items() if name not in hidden},
        "single": single,
        "command": remove_folders(values["answer"].command, summary.runs),
    }
    return render_page(
        __package__, "report.html.j2", **values, **page, **chart_values(summary), **class_values(summary, root)
    )


def shared_values(summary: ComparisonSummary, differences: Sequence[PairedDifference]) -> dict[str, Any]:
    """What page and Markdown both show, and the functions that format it.

    ``differences`` are those between the best and every other group.
    """
    results = [run.result for run in summary.runs]
    formats = (breakable, css_class, format_part, points, recommend, size_title, span, tenths)
    return {function.__name__: function for function in formats} | {
        "summary": summary,
        "answer": answer(summary),
        "sizes": by_train_images(summary),
        "cautions": cautions(summary),
        "columns": table_columns(summary),
        "intervals": describe_intervals(summary),
        "differences": differences,
        "explanation": explain_tests(differences),
        "data": sorted(set(map(describe_data, results))),
        "protocols": sorted(set(map(describe_images, summary.runs))),
        "several": len(summary.runs) > len(summary.strategies),
        "packages": sorted(set(map(describe_packages, results))),
        "interval_name": name_interval(summary.level),
    }


def class_values(summary: ComparisonSummary, root: Path | None) -> dict[str, Any]:
    """Accuracy by class of two groups, and confused classes and worst mistakes of the best."""
    if not summary.with_predictions:
        return {"classes": None}
    best, baseline = summary.with_predictions[0], find_baseline(summary.with_predictions)
    classes, matrix = class_errors.class_data(summary), confusion_figure(summary)
    rows = class_errors.class_rows(classes, best, baseline)
    pairs, mistakes = class_errors.confused_pairs(summary, best), class_errors.worst_mistakes(summary, best)
    text = f"Confusion matrix of {best.label}; the cards below have the largest counts"
    images = [side.example for pair in pairs for side in pair if side.example] + [mistake.image for mistake in mistakes]
    runs = [run for strategy in summary.with_predictions for run in strategy.runs]
    value_range = runs[0].result.get("data", {}).get("value_range")
    roots = (run.find_images(summary.test, root) for run in runs)
    thumbnails, missing = load_thumbnails(images, next(filter(None, roots), None), value_range)
    return {
        "classes": classes,
        "best": best,
        "baseline": baseline,
        "class_rows": rows,
        "gains": [row for row in rows[: class_errors.EXTREMES] if row.difference > 0],
        "losses": [row for row in rows[::-1][: class_errors.EXTREMES] if row.difference < 0],
        "confusion": to_svg(matrix, text) if matrix else "",
        "confusions": [] if matrix else class_errors.confusions(summary, best),
        "pairs": pairs,
        "mistakes": mistakes,
        "thumbnails": thumbnails,
        "missing_images": missing,
    }


def find_baseline(strategies: Sequence[StrategySummary]) -> StrategySummary:
    """The group that the best is compared with by class: the one with fewest trainable parameters, or the second best."""
    best, *others = strategies
    smallest = min(strategies, key=lambda strategy: strategy.trainable)
    return smallest if smallest is not best else (others or [best])[0]


def build_matrix(summary: ComparisonSummary) -> list[list[PairedDifference | None]]:
    """Row less column for each pair of groups, None on the diagonal; nothing for two groups, or for too many."""
    strategies = summary.with_predictions
    if not 2 < len(strategies) <= MATRIX:
        return []
    return [[None if a is b else compare(summary, a, b) for b in strategies] for a in strategies]


def describe_scope(summary: ComparisonSummary) -> str:
    """How many strategies and runs the page compares, and on which data."""
    count, runs = len(summary.strategies), summary.runs
    data = "; ".join(sorted({describe_data(run.result) for run in runs}))
    strategies = f"{count} strategies, " if count > 1 else ""
    protocols = "; ".join(sorted({describe_protocol(run) for run in runs}))
    return f"{strategies}{len(runs)} run{'s' * (len(runs) > 1)}. {data}; {protocols}."


def describe_role(summary: ComparisonSummary) -> str:
    """Why the others are compared with the first group that has predictions on record."""
    if summary.best is None:
        return "which has the fewest trainable parameters, as no run was validated"
    best = f"the best by {summary.val_title}"
    return best if summary.best in summary.with_predictions else f"{best} of those with predictions by image on record"


def explain_tests(differences: Sequence[PairedDifference]) -> str:
    """How the intervals and p-values of these comparisons are meant."""
    count = sum(len(difference.tests) for difference in differences)
    sentences = ["The confidence interval of a difference is about these two strategies, at 95 %."]
    if len(differences) > 1:
        sentences = [
            f"The confidence intervals are simultaneous: in about 95 of 100 comparisons like this one, all of them "
            f"contain the true differences (Bonferroni: each is an interval of {100 * differences[0].level:.4g} %). In "
            "simulations this was 93.6 to 98.5 %, least with many rivals and three seeds: see docs/statistics.md."
        ]
    if count:
        corrected = f", corrected by Holm's method for the {count} tests of this table" if count > 1 else ""
        sentences.append(
            f"The p-values are McNemar's exact test{corrected}; each is about two runs, not about other seeds. So the two "
            "may disagree: a small p-value says that two runs differ on more images like these, the interval whether the "
            "strategies differ with new seeds too."
        )
    if any(difference.interval.over == "images" for difference in differences):
        sentences.append(
            "With one or two seeds the interval is over images only: another seed may give another result."
        )
    if any(difference.first.seeds != difference.second.seeds for difference in differences):
        sentences.append("Groups with different seeds are compared without pairing the seeds.")
    return " ".join(sentences)


def describe_data(result: dict) -> str:
    """Name and sizes of a run's data."""
    data = result.get("data", {})
    sizes = split_sizes(data)
    return f"{data.get('name', 'not on record')}: {sizes} images" if sizes else "not on record"


def describe_images(run: Run) -> str:
    """The protocol of a run, with its metric and the fingerprints of its images."""
    protocol = run.result.get("protocol")
    if protocol is None:
        return describe_protocol(run)
    metric, images = protocol.get("metric"), fingerprints(protocol)
    return f"{describe_protocol(run)}, metric {metric}; fingerprints of the images: {images}"


def describe_packages(result: dict) -> str:
    versions = sorted(result.get("versions", {}).items())
    return ", ".join(f"{name} {version}" for name, version in versions) or "not on record"


def breakable(label: str) -> Markup:
    """A label that may break after its underscores, equals signs and the dots of its keys, rather than anywhere."""
    return Markup(re.sub(r"([_=](?=\w)|\.(?=[a-z]))", r"\1<wbr>", str(escape(label))))

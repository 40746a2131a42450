"""The report as HTML and as Markdown: what the templates show, and the templates filled with it."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

import flowers_tl.report.charts as charts
import flowers_tl.report.class_errors as class_errors
from flowers_tl.report.paired_tests import PairedDifference, compare, points, span
from flowers_tl.report.recommendation import by_train_images, cautions, headline
from flowers_tl.report.summary import ComparisonSummary, StrategySummary
from flowers_tl.report.table import describe_intervals, table_columns
from flowers_tl.report.thumbnails import load_thumbnails
from flowers_tl.results.load_runs import RunGroup
from flowers_tl.results.protocol import describe_protocol, fingerprints, split_sizes
from flowers_tl.results.terminal_tables import HEADER, table_rows
from flowers_tl.utils.templates import render

# All pairs of more groups than that can't be read, nor a sentence on each.
MATRIX = 8
SECTIONS = {
    "recommendation": "Recommendation",
    "table": "All groups",
    "tests": "Significance tests",
    "curves": "Learning curves",
    "costs": "Accuracy against time and parameters",
    "classes": "Accuracy by class",
    "confused": "Most confused classes",
    "mistakes": "Worst mistakes",
    "reliability": "Calibration",
    "provenance": "Protocol and provenance",
}
NEED_PREDICTIONS = ("classes", "confused", "mistakes", "reliability")


def render_comparison(groups: Sequence[RunGroup], notes: Sequence[str], figure: str) -> str:
    """The short comparison as Markdown: table, curves and notes."""
    return render(__package__, "comparison.md.j2", header=HEADER, rows=table_rows(groups), notes=notes, figure=figure)


def render_markdown(summary: ComparisonSummary, differences: Sequence[PairedDifference]) -> str:
    """The report's sentences and tables; ``differences`` are those between the best and every other group."""
    values = shared_values(summary, differences)
    cells = [[column.cell(strategy) for column in values["columns"]] for strategy in summary.strategies]
    values["rows"] = [[f"{cell.text} ({cell.below})" if cell.below else cell.text for cell in row] for row in cells]
    return render(__package__, "report.md.j2", **values, test_rows=[difference_row(d) for d in differences])


def difference_row(difference: PairedDifference) -> list[str]:
    """The numbers behind a sentence of the Markdown; p-values as corrected by Holm's method."""
    interval = difference.interval
    p_values = ", ".join(f"{one.seed}: {one.adjusted:.3g}" for one in difference.tests)
    return [difference.second.label, points(interval.value), span(interval), interval.over, p_values or "-"]


def render_html(summary: ComparisonSummary, differences: Sequence[PairedDifference], root: Path | None = None) -> str:
    """The whole page: style, script, data, charts and images, which lie below ``root``, are inside."""
    values = shared_values(summary, differences)
    values |= {"css": Markup(read("page.css")), "script": Markup(read("page.js")), "breakable": breakable}
    values |= {"scope": describe_scope(summary), "role": describe_role(summary), "css_class": charts.css_class}
    values |= {"matrix": build_matrix(summary.with_predictions), "max_sentences": MATRIX}
    values["contents"] = {
        name: title for name, title in SECTIONS.items() if summary.with_predictions or name not in NEED_PREDICTIONS
    }
    return render(__package__, "report.html.j2", **values, **chart_values(summary), **class_values(summary, root))


def shared_values(summary: ComparisonSummary, differences: Sequence[PairedDifference]) -> dict[str, Any]:
    """What page and Markdown both show."""
    results = [run.result for run in summary.runs]
    return {
        "summary": summary,
        "headline": headline(summary),
        "sizes": by_train_images(summary),
        "cautions": cautions(summary),
        "columns": table_columns(summary),
        "intervals": describe_intervals(summary),
        "differences": differences,
        "explanation": explain_tests(differences),
        "data": sorted(set(map(describe_data, results))),
        "protocols": sorted(set(map(describe_images, results))),
        "packages": sorted({describe_packages(result) for result in results}),
        "points": points,
        "span": span,
    }


def chart_values(summary: ComparisonSummary) -> dict[str, Any]:
    """The charts as SVG, and the values of the curves at each epoch."""
    strategies = sorted(summary.strategies, key=lambda strategy: strategy.number)
    panels = {title: charts.load_curves([s.group for s in strategies], column) for title, column in charts.PANELS}
    epochs = charts.last_epoch(panels.values())
    curves = [
        {"title": title, "values": [[format_value(c.at(e), title) for e in range(1, epochs + 1)] for c in curves]}
        for title, curves in panels.items()
    ]
    costs = (
        ("seconds per run", lambda s: s.seconds.mean, charts.PLAIN),
        ("trainable parameters", lambda s: s.trainable, charts.COUNT),
    )
    tested = [strategy for strategy in summary.strategies if np.isfinite(strategy.accuracy.mean)]
    cost_charts = {}
    for title, cost, text in costs:
        # A logarithm needs costs above zero; no comparison with NaN is true.
        if known := [strategy for strategy in tested if cost(strategy) > 0]:
            cost_charts[title] = charts.cost_svg(known, cost, title, text)
    calibrated = [
        strategy for strategy in summary.with_predictions if np.isfinite(strategy.scores["calibration_error"].mean)
    ]
    return {
        "ordered": strategies,
        "epochs": epochs,
        "curves": curves if epochs else [],
        "curve_charts": {title: charts.curves_svg(panels[title], title, epochs) for title in panels} if epochs else {},
        "cost_charts": cost_charts,
        "reliability": [(s, charts.reliability_svg(s, summary.test.labels)) for s in calibrated],
    }


def class_values(summary: ComparisonSummary, root: Path | None) -> dict[str, Any]:
    """Accuracy by class of two groups, and confused classes and worst mistakes of the best."""
    if not summary.with_predictions:
        return {"classes": None}
    best, baseline = summary.with_predictions[0], find_baseline(summary.with_predictions)
    classes = class_errors.class_data(summary)
    rows = class_errors.class_rows(classes, best, baseline)
    pairs, mistakes = class_errors.most_confused(summary, best), class_errors.worst_mistakes(summary, best)
    images = [side.example for pair in pairs for side in pair if side.example] + [mistake.image for mistake in mistakes]
    runs = [run for strategy in summary.with_predictions for run in strategy.group.runs]
    thumbnails, missing = load_thumbnails(
        images, (run.find_images(summary.test, root) for run in runs), runs[0].result.get("data", {}).get("value_range")
    )
    return {
        "classes": classes,
        "best": best,
        "baseline": baseline,
        "class_rows": rows,
        "gains": [row for row in rows[: class_errors.EXTREMES] if row.difference > 0],
        "losses": [row for row in rows[::-1][: class_errors.EXTREMES] if row.difference < 0],
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


def build_matrix(strategies: Sequence[StrategySummary]) -> list[list[PairedDifference | None]]:
    """Row less column for each pair of groups, None on the diagonal; nothing for two groups, or for too many."""
    if not 2 < len(strategies) <= MATRIX:
        return []
    return [[None if a is b else compare(a, b) for b in strategies] for a in strategies]


def describe_scope(summary: ComparisonSummary) -> str:
    """How many groups and runs the page compares, and on which data."""
    groups, runs = len(summary.strategies), summary.runs
    data = "; ".join(sorted({describe_data(run.result) for run in runs}))
    return f"{groups} group{'s' * (groups > 1)}, {len(runs)} run{'s' * (len(runs) > 1)}. {data}."


def describe_role(summary: ComparisonSummary) -> str:
    """Why the others are compared with the first group that has predictions on record."""
    if summary.best is None:
        return "which has the fewest trainable parameters, as no run was validated"
    best = "the best by validation accuracy"
    return best if summary.best in summary.with_predictions else f"{best} of those with predictions by image on record"


def explain_tests(differences: Sequence[PairedDifference]) -> str:
    """How the intervals and p-values of these comparisons are meant."""
    count = sum(len(difference.tests) for difference in differences)
    sentences = ["Each confidence interval stands for itself at 95 %."]
    if len(differences) > 1:
        sentences.append("Among many, one in twenty misses the true difference.")
    if count:
        corrected = f", corrected by Holm's method for the {count} tests of this table" if count > 1 else ""
        sentences.append(
            f"The p-values are McNemar's exact test{corrected}; each is about two runs, not about other seeds."
        )
    if any(difference.interval.over == "images" for difference in differences):
        sentences.append("With one seed the interval is over images only: another seed may give another result.")
    if any(difference.first.seeds != difference.second.seeds for difference in differences):
        sentences.append("Groups with different seeds are compared without pairing the seeds.")
    return " ".join(sentences)


def describe_data(result: dict) -> str:
    """Name and sizes of a run's data."""
    data = result.get("data", {})
    sizes = split_sizes(data)
    return f"{data.get('name', 'not on record')}: {sizes} images" if sizes else "not on record"


def describe_images(result: dict) -> str:
    """The protocol of a run, with its metric and the fingerprints of its images."""
    protocol = result.get("protocol")
    if protocol is None:
        return "no recorded protocol"
    metric, images = protocol.get("metric"), fingerprints(protocol)
    return f"{describe_protocol(protocol)}, metric {metric}; fingerprints of the images: {images}"


def describe_packages(result: dict) -> str:
    return (
        ", ".join(f"{name} {version}" for name, version in sorted(result.get("versions", {}).items()))
        or "not on record"
    )


def format_value(value: float | None, title: str) -> str:
    """A value of a curve, or a dash where it has none."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if title.endswith("accuracy") else f"{value:.3f}"


def breakable(label: str) -> Markup:
    """A label that may break after its underscores, equals signs and the dots of its keys, rather than anywhere."""
    return Markup(re.sub(r"([_=](?=\w)|\.(?=[a-z]))", r"\1<wbr>", str(escape(label))))


def read(name: str) -> str:
    """A file in templates/."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")

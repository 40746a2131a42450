"""The figures of a report as files for papers, drawn by the functions that draw the page's charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from flowers_tl.report.charts import (
    MOST,
    MOST_CLASSES,
    accuracy_limits,
    draw_accuracies,
    draw_confusion,
    draw_costs,
    draw_reliability,
)
from flowers_tl.report.curves import PANELS, draw_cursor, draw_curves, last_epoch, load_curves
from flowers_tl.report.palette import COUNT, PLAIN, SETTINGS
from flowers_tl.report.summary import ComparisonSummary
from flowers_tl.report.svg import to_svg
from flowers_tl.utils.errors import UserError

FORMATS = ("png", "svg", "pdf")


def read_formats(text: str) -> list[str]:
    """The formats of ``figures=svg,pdf``. Raises UserError for another one."""
    formats = [name for name in text.split(",") if name]
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"figures={text} must be some of {', '.join(FORMATS)}, separated by commas, not {unknown[0]}.")
    return formats


def cost_figures(summary: ComparisonSummary) -> dict[str, Figure]:
    """Accuracy against each cost that was measured, by its name."""
    costs = (
        ("seconds per run", lambda s: s.seconds.mean, PLAIN),
        ("trainable parameters", lambda s: s.trainable, COUNT),
    )
    figures = {}
    for title, cost, text in costs:
        # A logarithm needs costs above zero; no comparison with NaN is true.
        if known := [strategy for strategy in summary.tested if cost(strategy) > 0]:
            figures[title] = draw_costs(known, cost, title, text)
    return figures


def chart_values(summary: ComparisonSummary) -> dict[str, Any]:
    """The charts as SVG, and the values of the curves at each epoch."""
    tested = summary.tested[:MOST]
    panels = {title: load_curves(summary.strategies, column) for title, column in PANELS}
    epochs = last_epoch(panels.values())
    curves = [
        {"title": title, "values": [[format_value(c.at(e), title) for e in range(1, epochs + 1)] for c in curves]}
        for title, curves in panels.items()
    ]
    curve_charts = {}
    for title in panels if epochs else ():
        figure, places = draw_cursor(panels[title], title, epochs)
        text = f"{title} by epoch; the table below has the values"
        curve_charts[title] = to_svg(figure, text, class_="curves", **places)
    text = "Test accuracy with its 95 % confidence interval; the first table has the values"
    costs = cost_figures(summary) if len(summary.strategies) > 1 else {}
    calibrated = [s for s in summary.with_predictions if np.isfinite(s.scores["calibration_error"].mean)]
    return {
        "most": MOST,
        "outside": bool(tested) and min(s.accuracy.mean for s in tested) < accuracy_limits(tested)[0],
        "accuracies": to_svg(draw_accuracies(tested), text) if tested else "",
        "epochs": epochs,
        "curves": curves if epochs else [],
        "curve_charts": curve_charts,
        "cost_charts": {
            title: to_svg(figure, f"Test accuracy against {title}; the first table has the values")
            for title, figure in costs.items()
        },
        "reliability": [
            (s, to_svg(draw_reliability(s), f"Accuracy by confidence of {s.label}")) for s in calibrated[:MOST]
        ],
    }


def format_value(value: float | None, title: str) -> str:
    """A value of a curve, or a dash where it has none."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if title.endswith("accuracy") else f"{value:.3f}"


def confusion_figure(summary: ComparisonSummary) -> Figure | None:
    """The confusion matrix of the best; None for more classes than can be read."""
    if not summary.with_predictions or len(summary.class_names) > MOST_CLASSES:
        return None
    counts = summary.with_predictions[0].predictions.confusion
    return draw_confusion(counts, [summary.class_name(k) for k in range(len(counts))])


def draw_figures(summary: ComparisonSummary) -> dict[str, Figure]:
    """All figures by the names of their files, as far as the runs have what they show."""
    figures = {"curves": draw_curves(summary.strategies)}
    if summary.tested:
        figures["accuracy"] = draw_accuracies(summary.tested[:MOST])
    figures |= {f"cost_{title.split()[-1]}": figure for title, figure in cost_figures(summary).items()}
    if matrix := confusion_figure(summary):
        figures["confusion"] = matrix
    if best := next(iter(summary.with_predictions), None):
        figures["calibration"] = draw_reliability(best)
    return figures


def write_figures(summary: ComparisonSummary, folder: Path, formats: Sequence[str], number: str = "") -> None:
    """Write each figure in each format into a folder. The same runs give the same files."""
    for name, figure in draw_figures(summary).items() if formats else ():
        # Marks are for the page's script; in a file they would be names.
        for artist in figure.findobj():
            artist.set_gid(None)
        for kind in formats:
            date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
            with rc_context(SETTINGS | {"svg.hashsalt": name}):
                figure.savefig(folder / f"{name}{number}.{kind}", dpi=150, metadata=date)

"""The charts of a comparison, drawn by matplotlib: SVG for the page, PNG for papers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from flowers_tl.report.summary import StrategySummary
from flowers_tl.report.svg import mark, to_svg
from flowers_tl.results.load_runs import RunGroup
from flowers_tl.results.statistics import reliability

PANELS = (("train loss", "train/loss"), ("validation loss", "val/loss"), ("validation accuracy", "val/accuracy"))
# Okabe and Ito's palette, which colour-blind readers can tell apart, darker where a line would be too pale on white.
COLOURS = ("#0072b2", "#d55e00", "#008a64", "#bf6496", "#b87a00", "#2f8fc9", "#8f8500", "#1d2125")
LINES = ("-", (0, (3.5, 1.5)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "D", "^")
INK, MUTED, RULE = "#1d2124", "#5a626a", "#dedad2"
# The variables of page.css, so that its theme applies to the charts.
VARIABLES = {colour: f"var(--s{k})" for k, colour in enumerate(COLOURS)}
VARIABLES |= {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"}
# Text stays text, and a label with $ is no formula.
SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
PLAIN = FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")
COUNT = EngFormatter()


def line_number(number: int) -> int:
    """Neighbours differ in colour and in line, so that grey print tells them apart."""
    return (number + number // len(COLOURS)) % len(LINES)


def line_style(number: int) -> dict[str, Any]:
    """Colour and line of a group, for matplotlib."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[line_number(number)]}


def css_class(number: int) -> str:
    """Colour and line of a group, as classes of page.css."""
    return f"s{number % len(COLOURS)} d{line_number(number)}"


@dataclass(frozen=True, eq=False)
class Curve:
    """A history column of a group: epochs, mean and spread where they are finite; the level of a head that was solved."""

    label: str
    epochs: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    level: float | None

    def at(self, epoch: int) -> float | None:
        """The value at an epoch, None where there is none."""
        place = np.flatnonzero(self.epochs == epoch)
        return float(self.mean[place[0]]) if len(place) else self.level


def load_curves(groups: Sequence[RunGroup], column: str) -> list[Curve]:
    curves = []
    for group in groups:
        epochs, mean, spread = group.curve(column)
        finite, level = np.isfinite(mean), None
        if not len(epochs) and column.startswith("val/"):
            value = float(group.values(*column.split("/")).mean())
            level = value if np.isfinite(value) else None
        spread = np.nan_to_num(spread[finite])
        curves.append(Curve(group.label, epochs[finite].astype(int), mean[finite], spread, level))
    return curves


def last_epoch(panels: Iterable[Sequence[Curve]]) -> int:
    """The last epoch of any curve in any panel, so that all panels have one axis; 0 if nothing was trained."""
    return max((int(curve.epochs[-1]) for curves in panels for curve in curves if len(curve.epochs)), default=0)


def draw_panel(axes: Axes, curves: Sequence[Curve], title: str, epochs: int) -> None:
    """Lines are means over seeds with a band of one standard deviation; a level line is a head that was solved."""
    accuracy = title.endswith("accuracy")
    tops = [value for c in curves for value in (*(c.mean + c.spread), c.level or 0)]
    high = min(1.05 * max(tops, default=0) or 1, 1 if accuracy else np.inf)
    axes.set(xlabel="epoch", xlim=(1, max(2, epochs)), ylim=(0, high))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(PERCENT if accuracy else PLAIN)
    for number, curve in enumerate(curves):
        style = line_style(number) | {"label": curve.label}
        if curve.level is not None:
            axes.axhline(curve.level, linewidth=1.5, gid=mark(class_="series line level", data_series=number), **style)
        elif len(curve.epochs) == 1:
            # A line through one point is invisible.
            gid = mark(class_="series dot", data_series=number)
            axes.plot(curve.epochs, curve.mean, marker="o", clip_on=False, gid=gid, **style)
        else:
            low, top = np.maximum(curve.mean - curve.spread, 0), np.minimum(curve.mean + curve.spread, high)
            gid = mark(class_="series band", data_series=number)
            axes.fill_between(curve.epochs, low, top, color=style["color"], alpha=0.16, linewidth=0, gid=gid)
            gid = mark(class_="series line", data_series=number)
            axes.plot(curve.epochs, curve.mean, linewidth=2, gid=gid, **style)


def draw_curves(groups: Sequence[RunGroup], path: Path) -> None:
    """Draw train loss, validation loss and validation accuracy by epoch into a PNG."""
    with rc_context(SETTINGS):
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        panels = {title: load_curves(groups, column) for title, column in PANELS}
        for axes, title in zip(figure.subplots(1, len(PANELS)), panels, strict=True):
            draw_panel(axes, panels[title], title, last_epoch(panels.values()))
            axes.set_title(title)
        lines = axes.get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=min(len(groups), 4), frameon=False)
        figure.savefig(path, dpi=150)


def curves_svg(curves: Sequence[Curve], title: str, epochs: int) -> Markup:
    """One panel for the page, with a cursor that the page moves to one of the ``epochs``."""
    with rc_context(SETTINGS):
        figure, axes = new_figure()
        draw_panel(axes, curves, title, epochs)
        last, box = axes.get_xlim()[1], axes.bbox
        axes.axvline(last, color=MUTED, linewidth=1, gid=mark(class_="cursor"))
        place = {"data_left": f"{box.x0:g}", "data_right": f"{box.x1:g}", "data_epochs": f"{last:g}"}
        description = f"{title} by epoch; the table below has the values"
        return to_svg(figure, description, VARIABLES, class_="curves", **place)


def cost_svg(
    strategies: Sequence[StrategySummary], cost: Callable[[StrategySummary], float], title: str, text: Formatter
) -> Markup:
    """Test accuracy with its 95 % confidence interval against a cost on a logarithmic axis."""
    with rc_context(SETTINGS):
        figure, axes = new_figure()
        axes.set(xlabel=title, xscale="log")
        axes.margins(0.1)
        for strategy in strategies:
            x, number, accuracy = cost(strategy), strategy.number, strategy.accuracy
            tooltip = f"{strategy.label}: {text(x)}, {100 * accuracy.mean:.1f} %"
            style = {"color": line_style(number)["color"]}
            style["gid"] = mark(class_="series", data_series=number, title=tooltip)
            if accuracy.interval is not None:
                axes.plot([x, x], [accuracy.interval.low, accuracy.interval.high], linewidth=1.5, **style)
            axes.plot([x], [accuracy.mean], marker=MARKERS[line_number(number)], markersize=8, **style)
        (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
        axes.set_ylim(max(0, low), min(1.02, high))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right / left < 100 else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(text)
        axes.yaxis.set_major_formatter(PERCENT)
        draw_labels(axes, [(s.label, cost(s), s.accuracy.mean) for s in strategies])
        return to_svg(figure, f"Test accuracy against {title}; the first table has the values", VARIABLES)


def draw_labels(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each label beside its point where it covers no other label or point; one without room is left out."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    places = axes.transData.transform([place for _, *place in points])
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    right, top = axes.figure.bbox.max
    # Right and left of the point, then above and below, ever farther.
    offsets = [(9, 0, "left"), (-9, 0, "right")]
    offsets += [(0, dy, align) for dy in (13, -13, 26, -26) for align in ("center", "right", "left")]
    for label, x_data, y_data in points:
        short = label if len(label) <= 26 else f"{label[:25]}…"
        for x, y, align in offsets:
            text = axes.annotate(short, (x_data, y_data), (x, y), textcoords="offset points", ha=align, va="center")
            box = text.get_window_extent(renderer)
            inside = box.x0 >= axes.bbox.x0 and box.y0 >= axes.bbox.y0 and box.x1 <= right and box.y1 <= top
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def reliability_svg(strategy: StrategySummary, labels: np.ndarray) -> Markup:
    """Accuracy by confidence, all seeds together; a dot's area grows with its number of images."""
    logits, style = strategy.predictions.logits, line_style(strategy.number)
    bins = reliability(np.concatenate(logits), np.tile(labels, len(logits)))
    most = max(b.images for b in bins)
    with rc_context(SETTINGS):
        figure, axes = new_figure(230, 230)
        axes.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.xaxis.set_major_formatter(PERCENT)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=LINES[2])
        axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], linewidth=2, **style)
        for b in bins:
            tooltip = (
                f"confidence {100 * b.confidence:.0f} %, accuracy {100 * b.accuracy:.0f} %, {b.images:,} predictions"
            )
            dot = {"marker": "o", "markersize": 4 + 12 * (b.images / most) ** 0.5, "color": style["color"]}
            axes.plot([b.confidence], [b.accuracy], clip_on=False, gid=mark(title=tooltip), **dot)
        return to_svg(figure, f"Accuracy by confidence of {strategy.label}", VARIABLES)


def new_figure(width: int = 380, height: int = 270) -> tuple[Figure, Axes]:
    """A figure of so many points, one a pixel, with the same room around each axes so that charts stand in line."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    return figure, figure.add_axes((48 / width, 44 / height, 1 - 70 / width, 1 - 58 / height))

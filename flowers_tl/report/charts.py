"""The charts of a comparison, drawn by matplotlib: SVG for the page; PNG, SVG and PDF for papers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D
from scipy.optimize import isotonic_regression

from flowers_tl.report.palette import ACCENT, INK, LINES, MUTED, PAPER, PERCENT, SETTINGS, dot_style, line_style
from flowers_tl.report.summary import StrategySummary
from flowers_tl.report.svg import mark
from flowers_tl.results.scores import percent
from flowers_tl.results.statistics import reliability_bins

# Strategies in one chart, and classes in a confusion matrix: more can't be read.
MOST, MOST_CLASSES = 24, 30
# Points: between two labels, and the room for them beside the axes.
LABEL_GAP, LABEL_ROOM = 13.5, 140


def new_figure(
    width: float = 380, height: float = 270, panels: int = 1, left: float = 48, room: float = 22, title: float = 0
) -> tuple[Figure, list[Axes]]:
    """A figure of panels of so many points, one a pixel, and the room around their axes, so that charts stand in line."""
    figure = Figure(figsize=(panels * width / 72, height / 72), dpi=72)
    size = ((width - left - room) / width / panels, 1 - (58 + title) / height)
    return figure, [figure.add_axes(((k + left / width) / panels, 44 / height, *size)) for k in range(panels)]


def label_height(count: int) -> float:
    """The height of a figure with so many labels beside its axes."""
    return max(270, 58 + LABEL_GAP * count)


def short_name(label: str, most: int = 19) -> str:
    """A label of so many letters at most: long ones differ at their ends, so the middle is left out."""
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-((most - 1) // 2) :]}"


def tenths(count: float) -> str:
    """A mean number of images, with a digit after the point if it is not whole."""
    return f"{count:.1f}".removesuffix(".0")


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Places as near to the wanted ones as can be, in their order, a ``gap`` apart, and from ``low`` to ``high``."""
    order, steps = np.argsort(wanted, kind="stable"), gap * np.arange(len(wanted))
    places = np.empty(len(wanted))
    fitted = isotonic_regression(np.asarray(wanted)[order] - steps).x
    places[order] = np.clip(fitted, low, max(low, high - steps[-1])) + steps
    return places


def label_points(axes: Axes, points: Sequence[tuple[str, int, float, float]]) -> None:
    """Write the label of each point (label, number, x, y) at the right of the axes, with a line that leads to it."""
    if not points:
        return
    # In points from the corner of the figure, whatever its resolution.
    transform = Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans
    x, y = transform.inverted().transform(axes.transData.transform([point[2:] for point in points])).T
    (_, bottom), (right, top) = transform.inverted().transform(axes.bbox)
    axes.autoscale(False)
    for point, left, start, end in zip(points, x, y, spread_apart(y, LABEL_GAP, bottom, top), strict=True):
        label, number, *_ = point
        settings: dict[str, Any] = {"transform": transform, "gid": mark(data_series=number, class_="series label")}
        line = {"color": line_style(number)["color"], "linewidth": 0.8, "clip_on": False}
        axes.plot([left, right + 2, right + 9, right + 12], [start, start, end, end], **line, **settings)
        axes.text(right + 14, end, label, fontsize=11, va="center", **settings)


def zoom_limits(spans: Iterable[tuple[float, float]], least: float) -> tuple[float, float]:
    """Limits around spans of which more is better: the best two, and each next one that does not make it three times as wide.

    As much as ``least`` is always within. What lies outside is marked at the edge.
    """
    spans = sorted(spans, key=sum, reverse=True)
    low, high = min(span[0] for span in spans[:2]), max(span[1] for span in spans)
    for next_low, _ in spans[2:]:
        if high - next_low > max(3 * (high - low), least):
            break
        low = min(low, next_low)
    return low, high


def accuracy_limits(strategies: Sequence[StrategySummary]) -> tuple[float, float]:
    """Limits of an axis of test accuracies with their intervals."""
    measures = [(s.accuracy.interval, s.accuracy.mean) for s in strategies]
    low, high = zoom_limits([(i.low, i.high) if i else (mean, mean) for i, mean in measures], 0.1)
    margin = 0.06 * max(high - low, 0.02)
    return low - margin, high + margin


def draw_estimate(axes: Axes, strategy: StrategySummary, place: float, low: float, what: str, upright: bool) -> None:
    """A dot for the test accuracy with its 95 % confidence interval; an arrow at the edge for one below ``low``."""
    accuracy, inside = strategy.accuracy, strategy.accuracy.mean >= low
    gid = mark(class_="series", data_series=strategy.number, title=f"{strategy.label}: {what}")
    style: dict[str, Any] = dot_style(strategy.number) | {"clip_on": False, "gid": gid}
    turn = slice(None) if upright else slice(None, None, -1)
    if accuracy.interval and inside:
        ends = [max(low, accuracy.interval.low), accuracy.interval.high]
        axes.plot(*([place, place], ends)[turn], linewidth=2, **style | {"marker": None})
    style |= {} if inside else {"marker": "v" if upright else "<"}
    axes.plot(*([place], [max(low, accuracy.mean)])[turn], markersize=8, **style)


@rc_context(SETTINGS)
def draw_accuracies(strategies: Sequence[StrategySummary]) -> Figure:
    """A row for each of the strategies: its name, its test accuracy, and a dot with the 95 % confidence interval."""
    figure, (axes,) = new_figure(height=62 + 34 * len(strategies), left=12, room=12)
    low, high = accuracy_limits(strategies)
    axes.set(xlim=(low, high), ylim=(0.6 - len(strategies), 0.75), xlabel="test accuracy", yticks=[])
    axes.grid(axis="x")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for row, strategy in enumerate(strategies):
        value = percent(strategy.accuracy.values)
        draw_estimate(axes, strategy, -row, low, value, upright=False)
        text: dict[str, Any] = {"y": 0.38 - row, "va": "center", "transform": axes.get_yaxis_transform()}
        text["weight"] = "normal" if row else "bold"
        axes.text(0, s=short_name(strategy.label, 36), **text)
        axes.text(1, s=value, ha="right", **text)
    return figure


@rc_context(SETTINGS)
def draw_costs(
    strategies: Sequence[StrategySummary], cost: Callable[[StrategySummary], float], title: str, text: Formatter
) -> Figure:
    """Test accuracy with its 95 % confidence interval against a cost on a logarithmic axis."""
    shown, points = strategies[:MOST], []
    figure, (axes,) = new_figure(height=label_height(len(shown)), room=LABEL_ROOM)
    low, high = accuracy_limits(shown)
    axes.set(xlabel=title, xscale="log", ylim=(low, high))
    axes.margins(x=0.1)
    for strategy in shown:
        x, mean = cost(strategy), strategy.accuracy.mean
        draw_estimate(axes, strategy, x, low, f"{text(x)}, {100 * mean:.1f} %", upright=True)
        value = "" if mean >= low else f" {100 * mean:.0f} %"
        points.append((short_name(strategy.label, 19 - len(value)) + value, strategy.number, x, max(low, mean)))
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right / left < 100 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(text)
    axes.yaxis.set_major_formatter(PERCENT)
    label_points(axes, points)
    return figure


@rc_context(SETTINGS)
def draw_reliability(strategy: StrategySummary) -> Figure:
    """Accuracy by confidence, all seeds together; a dot's area grows with its number of images."""
    logits, style = strategy.predictions.logits, line_style(strategy.number)
    bins = reliability_bins(np.concatenate(logits), np.tile(strategy.predictions.labels, len(logits)))
    most = max(b.images for b in bins)
    figure, (axes,) = new_figure(230, 230)
    axes.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=LINES[2])
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], linewidth=2, **style)
    for b in bins:
        tooltip = f"confidence {100 * b.confidence:.0f} %, accuracy {100 * b.accuracy:.0f} %, {b.images:,} predictions"
        dot = {"marker": "o", "markersize": 4 + 12 * (b.images / most) ** 0.5, "color": style["color"]}
        axes.plot([b.confidence], [b.accuracy], clip_on=False, gid=mark(title=tooltip), **dot)
    return figure


@rc_context(SETTINGS)
def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """How many images of each class (rows) are predicted as each (columns); darker is a larger part of the class's images."""
    size, short = len(names), [short_name(name) for name in names]
    side = max(220, 26 * size)
    width, height = side + 200, side + 150
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((140 / width, 140 / height, side / width, side / height))
    bar = figure.add_axes(((side + 152) / width, 140 / height, 12 / width, side / height))
    parts = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    for y, x in np.argwhere(counts):
        draw_cell(axes, x, y, parts[y, x])
        number = tenths(counts[y, x])
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10 if len(number) < 4 else 8.5}
        style["gid"] = mark(title=f"{names[y]} predicted as {names[x]}: {number}")
        axes.text(x + 0.5, y + 0.5, number, color=INK if parts[y, x] < 0.65 else PAPER, **style)
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel="predicted class", ylabel="true class", frame_on=False)
    axes.set_xticks(np.arange(size) + 0.5, short, rotation=90)
    axes.set_yticks(np.arange(size) + 0.5, short)
    axes.tick_params(length=0, labelsize=10)
    axes.grid(False)
    for step in range(20):
        draw_cell(bar, 0, step, (step + 0.5) / 20)
    bar.set(
        xlim=(0, 1), ylim=(0, 20), xticks=[], yticks=[0, 10, 20], yticklabels=["0 %", "50 %", "100 %"], frame_on=False
    )
    bar.yaxis.tick_right()
    bar.tick_params(length=0, labelsize=9)
    bar.grid(False)
    return figure


def draw_cell(axes: Axes, x: float, y: float, part: float) -> None:
    """A square that is the less transparent the larger the part is, so that it suits a light and a dark page."""
    axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], facecolor=ACCENT, alpha=part, linewidth=0)

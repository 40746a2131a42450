"""Learning curves: what runs recorded by epoch, and the charts of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowers_tl.report.charts import LABEL_ROOM, MOST, label_height, label_points, new_figure, short_name, zoom_limits
from flowers_tl.report.palette import COLOURS, MUTED, PERCENT, PLAIN, SETTINGS, dot_style, line_style
from flowers_tl.report.svg import mark
from flowers_tl.results.load_runs import RunGroup

PANELS = (("train loss", "train/loss"), ("validation loss", "val/loss"), ("validation accuracy", "val/accuracy"))


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

    @property
    def end(self) -> float | None:
        """The last value, None where there is none."""
        return float(self.mean[-1]) if len(self.mean) else self.level


def load_curves(groups: Sequence[RunGroup], column: str) -> list[Curve]:
    """A history column of each group, up to the last epoch of all its runs; a run without validation is NaN in its columns."""
    curves = []
    for group in groups:
        # A solved head has no epochs.
        epochs = min((run.history.get("epoch", np.empty(0)) for run in group.runs), key=len)
        unknown = np.full(len(epochs), np.nan)
        values = np.stack([run.history.get(column, unknown)[: len(epochs)] for run in group.runs])
        finite, level = np.isfinite(values.mean(axis=0)), None
        if not len(epochs) and column.startswith("val/"):
            value = float(group.values(*column.split("/")).mean())
            level = value if np.isfinite(value) else None
        values = values[:, finite]
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
        curves.append(Curve(group.label, epochs[finite].astype(int) + 1, values.mean(axis=0), spread, level))
    return curves


def last_epoch(panels: Iterable[Sequence[Curve]]) -> int:
    """The last epoch of any curve in any panel, so that all panels have one axis; 0 if nothing was trained."""
    return max((int(curve.epochs[-1]) for curves in panels for curve in curves if len(curve.epochs)), default=0)


def find_limits(curves: Sequence[Curve], accuracy: bool) -> tuple[float, float]:
    """Limits of an axis that outliers don't stretch, neither curves that end far from the best nor early epochs.

    Values are left out beyond the quartiles by more than three times their distance (Tukey, 1977). Losses begin at 0.
    """
    sign, least = (1, 0.1) if accuracy else (-1, 0.5)
    if not (ends := [sign * curve.end for curve in curves if curve.end is not None]):
        return 0, 1
    worst, _ = zoom_limits([(end, end) for end in ends], least)
    near = [curve for curve in curves if curve.end is not None and sign * curve.end >= worst]
    edges = [np.append(c.mean - sign * c.spread, [] if c.level is None else c.level) for c in near]
    values, tops = np.concatenate(edges), max(np.max(c.mean + c.spread, initial=c.level or 0) for c in near)
    first, third = np.quantile(values, (0.25, 0.75))
    reach = max(3 * (third - first), least)
    if not accuracy:
        return 0, 1.05 * values[values <= third + reach].max() or 1
    low = values[values >= first - reach].min()
    margin = 0.05 * max(tops - low, 0.02)
    return max(0, low - margin), min(1, tops + margin)


def cut(x: np.ndarray, y: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """A line with a point where it leaves the limits, and with gaps (NaN) outside them."""
    for level in (low, high):
        k = np.flatnonzero((y[:-1] - level) * (y[1:] - level) < 0)
        crossing = x[k] + (level - y[k]) / (y[k + 1] - y[k]) * (x[k + 1] - x[k])
        x, y = np.insert(x.astype(float), k + 1, crossing), np.insert(y, k + 1, level)
    return x, np.where((y < low) | (y > high), np.nan, y)


def draw_panel(axes: Axes, curves: Sequence[Curve], title: str, epochs: int) -> None:
    """Lines are means over seeds with a band of one standard deviation; a level line is a head that was solved."""
    accuracy, labels = title.endswith("accuracy"), []
    low, high = find_limits(curves[:MOST], accuracy)
    axes.set(xlabel="epoch", xlim=(1, max(2, epochs)), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(PERCENT if accuracy else PLAIN)
    for number, curve in enumerate(curves[:MOST]):
        if (end := curve.end) is None:
            continue
        style, last = line_style(number), curve.epochs[-1] if len(curve.epochs) else max(2, epochs)
        inside = low <= end <= high
        if curve.level is not None and inside:
            axes.axhline(end, linewidth=1.5, gid=mark(class_="series line level", data_series=number), **style)
        elif len(curve.epochs) == 1 and inside:
            # A line through one point is invisible.
            gid = mark(class_="series dot", data_series=number)
            axes.plot(curve.epochs, curve.mean, clip_on=False, gid=gid, **dot_style(number))
        elif len(curve.epochs) > 1:
            # Bands of more strategies lie upon one another, and hide the lines.
            if len(curves) <= len(COLOURS):
                bottom, top = (np.clip(curve.mean + sign * curve.spread, low, high) for sign in (-1, 1))
                gid = mark(class_="series band", data_series=number)
                axes.fill_between(curve.epochs, bottom, top, color=style["color"], alpha=0.16, linewidth=0, gid=gid)
            gid = mark(class_="series line", data_series=number)
            x, y = cut(curve.epochs, curve.mean, low, high)
            # From the ninth on colours come again: markers along the line, not all at the same epochs, tell them apart.
            again = {} if number < len(COLOURS) else dot_style(number) | {"markevery": (number % 4, 4), "markersize": 5}
            axes.plot(x, y, linewidth=2, gid=gid, **style | again)
        # An outlier is marked at the edge: an arrow that points to where it is.
        text = "" if inside else f" {PERCENT(end) if accuracy else PLAIN(float(f'{end:.2g}'))}"
        if not inside or number >= len(COLOURS):
            marker = {} if inside else {"marker": "^" if end > high else "v"}
            gid = mark(class_="series end", data_series=number)
            axes.plot(last, np.clip(end, low, high), markersize=6, clip_on=False, gid=gid, **dot_style(number) | marker)
        labels.append((short_name(curve.label, 19 - len(text)) + text, number, last, np.clip(end, low, high)))
    label_points(axes, labels)


@rc_context(SETTINGS)
def draw_curves(groups: Sequence[RunGroup], path: Path | None = None) -> Figure:
    """Draw train loss, validation loss and validation accuracy by epoch, into a PNG where ``path`` names one."""
    panels = {title: load_curves(groups, column) for title, column in PANELS}
    height = 20 + label_height(min(len(groups), MOST))
    figure, all_axes = new_figure(height=height, panels=len(panels), room=LABEL_ROOM, title=20)
    for axes, title in zip(all_axes, panels, strict=True):
        draw_panel(axes, panels[title], title, last_epoch(panels.values()))
        axes.set_title(title, loc="left", fontsize=11)
    if path:
        figure.savefig(path, dpi=110)
    return figure


@rc_context(SETTINGS)
def draw_cursor(curves: Sequence[Curve], title: str, epochs: int) -> tuple[Figure, dict[str, str]]:
    """One panel for the page with a cursor, and the places between which the page moves it to one of the ``epochs``."""
    figure, (axes,) = new_figure(height=label_height(min(len(curves), MOST)), room=LABEL_ROOM)
    draw_panel(axes, curves, title, epochs)
    last, box = axes.get_xlim()[1], axes.bbox
    axes.axvline(last, color=MUTED, linewidth=1, gid=mark(class_="cursor"))
    return figure, {"data_left": f"{box.x0:g}", "data_right": f"{box.x1:g}", "data_epochs": f"{last:g}"}

"""The report's charts: curves by epoch, accuracy against a cost, reliability."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowers_tl.report.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    around,
    drawing,
    frame,
    plain,
    whole_percent,
)
from flowers_tl.report.html import Html, element
from flowers_tl.report.summary import Entry
from flowers_tl.results.statistics import reliability

PANELS = (("train loss", "train/loss"), ("val loss", "val/loss"), ("val accuracy", "val/accuracy"))
COLOURS, LINES = 8, 4  # as many as page.css has


def style(entry: Entry) -> str:
    """Classes of an entry's colour and line; neighbours differ in both, so that grey print tells them apart."""
    k = entry.number
    return f"s{k % COLOURS} d{(k + k // COLOURS) % LINES}"


def curve_data(entries: Sequence[Entry], column: str) -> list[dict[str, Any]]:
    """For each entry its epochs, mean and spread where they are finite, and the level of one that was not trained."""
    found = []
    for entry in entries:
        epochs, mean, spread = entry.group.curve(column)
        known = np.isfinite(mean)
        level = None
        if not len(epochs) and column.startswith("val/"):
            split, name = column.split("/")
            values = [run.result[split].get(name, np.nan) for run in entry.group.runs]
            level = float(np.mean(values)) if np.isfinite(values).all() else None
        spread = np.nan_to_num(spread[known])
        found.append({"epochs": epochs[known].astype(int), "mean": mean[known], "spread": spread, "level": level})
    return found


def draw_curves(entries: Sequence[Entry], data: Sequence[dict[str, Any]], title: str, epochs: int) -> Html:
    """One panel: a line through the means over seeds, a band of one standard deviation around it."""
    tops = [value for d in data for value in (*(d["mean"] + d["spread"]), *filter(None, [d["level"]]))]
    accuracy = title.endswith("accuracy")
    high = min(1.0, max(tops, default=1.0) * 1.05) if accuracy else max(tops, default=1.0) * 1.05
    x, y = Axis(1, max(2, epochs), LEFT, WIDTH - RIGHT, whole=True), Axis(0, high or 1.0, HEIGHT - BOTTOM, TOP)
    parts = frame(x, y, "epoch", plain, whole_percent if accuracy else plain)
    for entry, d in zip(entries, data, strict=True):
        parts.append(element("g", *curve(d, x, y), class_=f"series {style(entry)}", data_series=entry.number))
    parts.append(element("line", x1=x.end, x2=x.end, y1=y.start, y2=y.end, class_="cursor"))
    spans = {"data_left": x.start, "data_right": x.end, "data_epochs": max(2, epochs)}
    return drawing(parts, f"{title} by epoch; the table below has the values", class_="curves", **spans)


def curve(d: dict[str, Any], x: Axis, y: Axis) -> list[Html]:
    if d["level"] is not None:
        return [element("line", x1=x.start, x2=x.end, y1=y(d["level"]), y2=y(d["level"]), class_="line level")]
    if not len(d["epochs"]):
        return []
    if len(d["epochs"]) == 1:  # a line through one point is invisible
        return [element("circle", cx=x(d["epochs"][0]), cy=y(d["mean"][0]), r=4, class_="dot")]
    upper = [f"{x(e)},{y(m)}" for e, m in zip(d["epochs"], np.minimum(d["mean"] + d["spread"], y.high), strict=True)]
    lower = [f"{x(e)},{y(m)}" for e, m in zip(d["epochs"], np.maximum(d["mean"] - d["spread"], 0), strict=True)]
    middle = [f"{x(e)},{y(m)}" for e, m in zip(d["epochs"], d["mean"], strict=True)]
    band = [element("polygon", points=" ".join(upper + lower[::-1]), class_="band")] if d["spread"].any() else []
    return [*band, element("polyline", points=" ".join(middle), class_="line")]


def draw_cost(
    entries: Sequence[Entry],
    cost: Callable[[Entry], float],
    title: str,
    text: Callable[[float], str],
) -> Html:
    """Test accuracy against a cost on a logarithmic axis, with 95 % intervals where there are any."""
    limits = [e.accuracy.interval for e in entries if e.accuracy.interval is not None]
    heights = [e.accuracy.mean for e in entries] + [bound for i in limits for bound in (i.low, i.high)]
    x = Axis(*around([cost(e) for e in entries], log=True), LEFT, WIDTH - RIGHT, log=True)
    low, high = around(heights)
    y = Axis(max(0, low), min(1.02, high), HEIGHT - BOTTOM, TOP)
    parts = frame(x, y, title, text, whole_percent)
    places = [(x(cost(entry)), y(entry.accuracy.mean)) for entry in entries]
    for entry, (left, top) in zip(entries, places, strict=True):
        inside = [element("title", f"{entry.label}: {text(cost(entry))}, {100 * entry.accuracy.mean:.1f} %")]
        if (i := entry.accuracy.interval) is not None:
            inside.append(element("line", x1=left, x2=left, y1=y(i.low), y2=y(i.high), class_="whisker"))
        inside.append(marker(entry.number, left, top))
        parts.append(element("g", *inside, class_=f"series {style(entry)}", data_series=entry.number))
    parts += labels([entry.label for entry in entries], places)
    return drawing(parts, f"Test accuracy against {title}; the first table has the values")


def marker(number: int, x: float, y: float) -> Html:
    """Circle, square, diamond or triangle."""
    r = 5
    if number % LINES == 0:
        return element("circle", cx=x, cy=y, r=r, class_="dot")
    corners = {
        1: ((-r, -r), (r, -r), (r, r), (-r, r)),
        2: ((0, -r - 2), (r + 2, 0), (0, r + 2), (-r - 2, 0)),
        3: ((0, -r - 1), (r + 1, r), (-r - 1, r)),
    }[number % LINES]
    return element("polygon", points=" ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in corners), class_="dot")


def labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[Html]:
    """Write the names beside their points, each where it covers no other name or point; one without room is left out."""
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    parts = []
    for name, place in zip(names, places, strict=True):
        shown = name if len(name) <= 26 else name[:25] + "…"
        width = 6.3 * len(shown)
        for left, base in beside(*place, width):
            box = (left, base - 10, left + width, base + 2)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(element("text", shown, x=round(left, 1), y=round(base, 1), class_="label"))
                break
    return parts


def beside(x: float, y: float, width: float) -> list[tuple[float, float]]:
    """Where a name may stand, the best first: right, left, then above and below, ever farther."""
    rows = [(dx, dy) for dy in (-11, 20, -25, 34) for dx in (-width / 2, 7 - width, -7)]
    return [(x + dx, y + dy) for dx, dy in [(9, 4), (-9 - width, 4), *rows]]


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_reliability(entry: Entry, truth: np.ndarray) -> Html:
    """Accuracy by confidence, all seeds together; a dot's area goes with its number of images."""
    width, height = 230, 230
    bins = reliability(np.concatenate(entry.answers.logits), np.tile(truth, len(entry.answers.logits)))
    x, y = Axis(0, 1, LEFT, width - 22, most=2), Axis(0, 1, height - BOTTOM, TOP, most=2)
    parts = frame(x, y, "confidence", whole_percent, whole_percent)
    parts.append(element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal"))
    most = max(b.count for b in bins)
    dots = [element("polyline", points=" ".join(f"{x(b.confidence)},{y(b.accuracy)}" for b in bins), class_="line")]
    for b in bins:
        said = f"confidence {100 * b.confidence:.0f} %, accuracy {100 * b.accuracy:.0f} %, {b.count:,} answers"
        radius = round(2 + 6 * (b.count / most) ** 0.5, 1)
        dots.append(element("circle", element("title", said), cx=x(b.confidence), cy=y(b.accuracy), r=radius))
    parts.append(element("g", *dots, class_=f"series {style(entry)}"))
    return drawing(parts, f"Accuracy by confidence of {entry.label}", width, height)

"""The frame of a chart: scales, ticks, grid, drawn as SVG that scales with the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from flowers_tl.report.html import Html, element

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 44


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` laid out from pixel ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False  # ticks at whole numbers only
    most: int = 5  # steps between ticks

    def __call__(self, value: float) -> float:
        low, high, value = (log10(x) if self.log else x for x in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values within the limits."""
        found = log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high, self.most)
        return [value for value in found if not self.whole or value == round(value)]


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, ``most`` steps at most.

    >>> linear_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    for step in (m * 10.0**e for e in range(floor(log10((high - low) / most)), 400) for m in (1, 2, 5)):
        first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
        if last - first <= most:
            return [round(k * step, 12) for k in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; between them 2 and 5 times as much where there would be fewer than three."""
    exponents = range(floor(log10(low)), ceil(log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**e for e in exponents for m in factors]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) >= 3:
            return found
    return found or [low, high]


def around(values: Sequence[float], margin: float = 0.08, log: bool = False) -> tuple[float, float]:
    """Limits with some room around finite values."""
    low, high = float(np.min(values)), float(np.max(values))
    if log:
        room = max((high / low) ** margin, 1.3)
        return low / room, high * room
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def frame(
    x: Axis, y: Axis, x_title: str, x_text: Callable[[float], str], y_text: Callable[[float], str], y_title: str = ""
) -> list[Html]:
    """Grid, ticks and titles."""
    parts = []
    for value in y.ticks():
        parts.append(element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="grid"))
        parts.append(element("text", y_text(value), x=x.start - 6, y=y(value) + 4, class_="tick end"))
    for value in x.ticks():
        parts.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(element("text", x_text(value), x=x(value), y=y.start + 18, class_="tick middle"))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    parts.append(element("text", x_title, x=(x.start + x.end) / 2, y=y.start + 36, class_="title middle"))
    if y_title:
        parts.append(element("text", y_title, x=x.start, y=y.end - 4, class_="title"))
    return parts


def drawing(
    parts: Sequence[Html], description: str, width: float = WIDTH, height: float = HEIGHT, **more: object
) -> Html:
    """An SVG image with a description for those who do not see it."""
    return element(
        "svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=description, **more
    )  # fmt: skip


def plain(value: float) -> str:
    """A number on an axis, short: 1,200, 0.05."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def short_count(value: float) -> str:
    """A count on an axis: 20 k, 3 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def whole_percent(value: float) -> str:
    """A share on an axis."""
    return f"{100 * value:.4g} %"

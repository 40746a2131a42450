"""How the strategies look in each chart: colours, lines and markers, the same on the page and in figures for papers."""

from typing import Any

from markupsafe import Markup
from matplotlib.ticker import EngFormatter, FuncFormatter

from flowers_tl.utils.templates import render

# Any two differ by a CIE76 distance of 15 or more for readers with deuteranopia and with protanopia, and each has a contrast
# of 3:1 or more to the page: for light and for dark pages.
COLOURS = ("#196ec5", "#e76712", "#3c9162", "#9a2576", "#5f4600", "#1594d0", "#552b86", "#434440")
DARK = ("#297dc9", "#e07e2a", "#1ec499", "#f8c8e7", "#ffc54a", "#4a789d", "#e596ee", "#50948a")
LINES = ("-", (0, (3.5, 1.5)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
PAPER, INK, MUTED, RULE, ACCENT = "#fdfcfa", "#1d2124", "#5a626a", "#dedad2", "#1f6b52"
# The variables of page.css, so that its theme applies to the charts.
VARIABLES = {colour: f"var(--s{k})" for k, colour in enumerate(COLOURS)}
VARIABLES |= {
    PAPER: "var(--paper)",
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
}
# Text stays text, and a label with $ is no formula.
SETTINGS = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
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
    """Colour and line of a strategy, for matplotlib."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[line_number(number)]}


def dot_style(number: int) -> dict[str, Any]:
    """Colour and marker of a strategy, for matplotlib: no two of 64 have both in common."""
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[number % len(COLOURS)], "marker": marker}


def css_class(number: int) -> str:
    """Colour and line of a strategy, as classes of page.css."""
    return f"s{number % len(COLOURS)} d{line_number(number)}"


def css_variables() -> str:
    """The colours as variables of a style sheet, for the light and the dark page."""
    pairs = enumerate(zip(COLOURS, DARK, strict=True))
    return " ".join(f"--s{k}: light-dark({light}, {dark});" for k, (light, dark) in pairs)


def render_page(package: str, name: str, **values: object) -> str:
    """Fill a package's template that extends ``page.html.j2``: a page with the style of the report and the charts' colours."""
    return render(package, name, __package__, palette=Markup(css_variables()), **values)

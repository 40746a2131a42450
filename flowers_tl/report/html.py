"""HTML from Python values: all text is escaped on its way into an element, so none that a run brings can be markup."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

EMPTY = {"img", "input", "line", "path", "rect", "circle", "polyline", "polygon"}


class Html(str):
    """Markup that is escaped already."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as escaped text; markup stays as it is. A number and its unit stay on one line."""
    if isinstance(value, Html):
        return value
    return Html(escape(str(value)).replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0"))


def element(name: str, *inside: object, **attributes: object) -> Html:
    """An element; ``class_`` is the attribute class, ``data_x`` is data-x, and None or False leaves an attribute out.

    >>> element("td", "<1 %", class_="number")
    '<td class="number">&lt;1\\xa0%</td>'
    """
    written = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(key)
        elif value is not None and value is not False:
            written.append(f'{key}="{escape(str(value))}"')
    opened = " ".join(written)
    return Html(f"<{opened}/>" if name in EMPTY and not inside else f"<{opened}>{joined(inside)}</{name}>")


def breakable(label: str) -> Html:
    """A label that may break after its underscores, equals signs and the dots of its keys, rather than anywhere."""
    return Html(re.sub(r"([_=](?=\w)|\.(?=[a-z]))", r"\1<wbr>", escape(label)))


def joined(parts: Iterable[object]) -> Html:
    """Parts one after the other."""
    return Html("".join(map(text, parts)))


def listed(parts: Iterable[object], name: str = "ul", **attributes: object) -> Html:
    """A list of the parts, or nothing where there are none."""
    items = [element("li", part) for part in parts]
    return element(name, *items, **attributes) if items else Html("")


@dataclass(frozen=True)
class Column:
    """A column's title; numbers are right-aligned and sort by value. ``order`` says how the rows come."""

    title: object
    number: bool = True
    order: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Cell:
    """What a cell shows, a second line below it, and the number by which it sorts."""

    shown: object
    value: float | None = None
    below: str | None = None
    class_: str | None = None

    def inside(self) -> Html:
        return joined([self.shown, element("small", self.below)] if self.below else [self.shown])


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell | object]],
    caption: str,
    sortable: bool = True,
    **attributes: object,
) -> Html:
    """A table that scrolls in a box of its own; its headers are buttons that sort, and the first cell names the row."""
    head = element("tr", *[_header(column, sortable) for column in columns])
    body = [
        element("tr", *[_cell(cell, column, k == 0) for k, (cell, column) in enumerate(zip(row, columns, strict=True))])
        for row in rows
    ]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body), **attributes)
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)


def _header(column: Column, sortable: bool) -> Html:
    inside = element("button", column.title, type="button", title=column.hint) if sortable else text(column.title)
    return element(
        "th",
        inside,
        scope="col",
        class_="number" if column.number else None,
        aria_sort=(column.order or "none") if sortable else None,
    )


def _cell(cell: Cell | object, column: Column, names_row: bool) -> Html:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    classes = " ".join(filter(None, ("number" if column.number else None, cell.class_)))
    known = cell.value is not None and np.isfinite(cell.value)
    return element(
        "th" if names_row else "td",
        cell.inside(),
        scope="row" if names_row else None,
        class_=classes or None,
        data_value=f"{cell.value:.9g}" if known else None,
    )

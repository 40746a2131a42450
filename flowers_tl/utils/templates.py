"""Text from Jinja2 templates. Every value is escaped on its way in, so that nothing that a run brings can be markup."""

import re
from collections.abc import Iterable, Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(package: str, name: str, extends: str | None = None, **values: object) -> str:
    """Fill the template ``templates/NAME`` of a package: Markdown if the name ends with ``.md.j2``, LaTeX if with ``.tex.j2``,
    or HTML. ``extends`` is the package of the template that it extends, if that is another one.

    Only values of type Markup, and what a template marks with ``| safe``, pass unescaped.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(extends or package)]),
        autoescape=True,
        finalize=ESCAPES.get(name.split(".", 1)[1], keep_units_together),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values, table=markdown_table)


def markdown_table(header: Iterable[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A Markdown table; templates call it ``table``."""
    titles = list(header)
    lines: list[Sequence[object]] = [titles, ["---"] * len(titles), *rows]
    return Markup("\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines))


def escape_markdown(value: object) -> Markup:
    """Text that Markdown shows as it is: no markup, no table cell and no line ends in it.

    >>> print(escape_markdown("a | <b>"))
    a \\| \\<b\\>
    """
    if isinstance(value, Markup):
        return value
    # An underscore within a word is none; $ begins a formula, and & the name of a letter.
    marks = r"([\\`<>|\[\]*$~&]|(?<![^\W_])_|_(?![^\W_]))"
    return Markup(re.sub(marks, r"\\\1", re.sub(r"\s+", " ", str(value))))


def escape_latex(value: object) -> Markup:
    """Text that LaTeX typesets as it is.

    >>> print(escape_latex("50 % of a_b"))
    50 \\% of a\\_b
    """
    if isinstance(value, Markup):
        return value
    names = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
    escapes = {letter: f"\\text{name}{{}}" for letter, name in names.items()} | {c: f"\\{c}" for c in "&%$#_{}"}
    escapes["±"] = "$\\pm$"
    return Markup("".join(escapes.get(letter, letter) for letter in re.sub(r"\s+", " ", str(value))))


def keep_units_together(value: object) -> object:
    """HTML in which a number and its unit stay on one line; Jinja2 escapes it afterwards."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return value.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")


# By what follows the first dot of a template's name.
ESCAPES = {"md.j2": escape_markdown, "tex.j2": escape_latex}

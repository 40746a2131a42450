"""Values in a template are text: they can't become markup, a table cell or a new line."""

import re
from importlib import import_module

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from flowers_tl.utils.templates import escape_latex, escape_markdown, render

HOSTILE = "<b>\n# a | `b` [c](d) \\"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the templates that are given by name; returns the package's name."""

    def written(**templates):
        # A module of a name that was imported before would be the old one.
        name = tmp_path.name
        (tmp_path / name / "templates").mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        for template, text in templates.items():
            (tmp_path / name / "templates" / template.replace("_", ".")).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return import_module(name).__name__

    return written


def test_values_are_escaped_for_html_and_for_markdown(package):
    template = "{% macro show(x) %}*{{ x }}*{% endmacro %}\n{{ show(value) }}|{{ marked }}|{{ trusted|safe }}\n"
    name = package(a_html_j2=template, a_md_j2=template)
    values = {"value": HOSTILE, "marked": Markup("<hr>"), "trusted": "<i>"}
    assert render(name, "a.html.j2", **values) == "*&lt;b&gt;\n# a | `b` [c](d) \\*|<hr>|<i>\n"
    assert render(name, "a.md.j2", **values) == "*\\<b\\> # a \\| \\`b\\` \\[c\\](d) \\\\*|<hr>|<i>\n"
    with pytest.raises(UndefinedError):
        render(name, "a.md.j2", value="a value is missing")


def test_a_markdown_table_has_one_cell_for_each_value(package):
    name = package(a_md_j2="{{ table(['a', 'b'], [[value, 2]]) }}")
    assert render(name, "a.md.j2", value="x | y\nz") == "| a | b |\n| --- | --- |\n| x \\| y z | 2 |"


def test_a_number_and_its_unit_stay_on_one_line_in_html(package):
    assert render(package(a_html_j2="{{ value }}"), "a.html.j2", value="1.5 ± 0.2 %") == "1.5\u00a0±\u00a00.2\u00a0%"


def test_what_is_markdown_already_stays_as_it_is():
    assert escape_markdown(escape_markdown("<a>")) == "\\<a\\>"


@pytest.mark.parametrize("name", ["*wild*", "_wild_", "$x_1$", "a &amp; b", "~~old~~", "[a](b)", "__init__"])
def test_a_name_is_no_emphasis_no_formula_and_no_entity(name):
    """As Markdown has it, a mark behind a backslash is a letter; within a word an underscore is one anyway."""
    unescaped = re.sub(r"\\[^\w\s]|\\_", "", escape_markdown(name))
    assert not re.search(r"[*$~&\[]|\b_\w+_\b", unescaped)
    assert re.sub(r"\\(?=[^\w\s]|_)", "", escape_markdown(name)) == name
    assert escape_markdown("fine_tuning") == "fine_tuning"


def test_values_are_escaped_for_latex(package):
    name = package(a_tex_j2="\\textbf{ {{- value }}} {{ marked }}\n")
    shown = render(name, "a.tex.j2", value="50 % of $x_1$ & {y}\n#2", marked=Markup("$\\pm$"))
    assert shown == "\\textbf{50 \\% of \\$x\\_1\\$ \\& \\{y\\} \\#2} $\\pm$\n"
    assert escape_latex("a\\b~c^d<e>f|") == (
        "a\\textbackslash{}b\\textasciitilde{}c\\textasciicircum{}d\\textless{}e\\textgreater{}f\\textbar{}"
    )

"""An SVG can stand in any page: it brings no ids, styles or markup of its own."""

import re

import numpy as np
import pytest
from written_runs import write_run

from flowers_tl.report.charts import draw_accuracies, draw_confusion, draw_costs, draw_reliability
from flowers_tl.report.curves import Curve, draw_cursor
from flowers_tl.report.palette import COUNT
from flowers_tl.report.summary import summarize
from flowers_tl.report.svg import to_svg
from flowers_tl.results.load_runs import find_runs, group_runs


def curve(*mean, label="tuned", spread=0.0, level=None):
    return Curve(label, np.arange(1, len(mean) + 1), np.array(mean), np.full(len(mean), spread), level)


def labels(svg):
    """The text in a chart."""
    return re.findall(r"<text.*?>(.*?)</text>", svg)


@pytest.fixture
def groups(tmp_path):
    """Groups of written runs: a function of what :func:`write_run` takes, one mapping for each run."""

    def written(*runs):
        for k, settings in enumerate(runs):
            write_run(tmp_path / "runs" / f"run{k}", **settings)
        return group_runs(find_runs([tmp_path / "runs"])[0])[0]

    return written


def test_a_chart_brings_nothing_that_meets_others_in_the_page(groups):
    summary = summarize(groups({"epochs": 1}, {"strategy": "linear_probe", "epochs": 0}))
    strategies = summary.strategies
    for figure in (
        draw_cursor([curve(2, 1, 0.5, spread=0.1), curve(2), curve(level=1)], "train loss", 3)[0],
        draw_costs(strategies, lambda s: s.trainable, "parameters", COUNT),
        draw_reliability(strategies[0]),
        draw_accuracies(strategies),
        draw_confusion(np.eye(3), ["a", "b", "c"]),
    ):
        svg = to_svg(figure, "a chart")
        for word in ("<style", "<defs", "<use", " id=", "url(", "http", "href", "<?xml", "DejaVu", "font:"):
            assert word not in svg
        # Every colour is the theme's.
        assert "#" not in svg
        assert "var(--muted)" in svg
    one = to_svg(draw_cursor([curve(2, 1), curve(2)], "train loss", 2)[0], "a chart")
    assert len(re.findall('class="series dot" data-series="1"', one)) == 1


def test_a_label_is_text_and_never_a_formula_or_markup(groups):
    hostile = "<b>$x^$ & 'a' \""
    strategies = summarize(groups({"strategy": hostile})).strategies
    svg = to_svg(draw_costs(strategies, lambda s: s.trainable, "parameters", COUNT), "a chart")
    assert "&lt;b&gt;$x^$ &amp; 'a' \"" in labels(svg)
    assert "<b>" not in svg

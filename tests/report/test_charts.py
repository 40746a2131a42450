"""The charts show what they are given: each strategy has its place, its label and its name."""

import re

import numpy as np
import pytest
from written_runs import TRUTH, logits_of

from flowers_tl.report.charts import accuracy_limits, draw_accuracies, draw_costs, short_name, spread_apart
from flowers_tl.report.palette import COUNT, PLAIN
from flowers_tl.report.summary import summarize
from flowers_tl.report.svg import to_svg


def labels(svg):
    """The text in a chart."""
    return re.findall(r"<text.*?>(.*?)</text>", svg)


def cost_svg(groups, cost, title, text):
    return to_svg(draw_costs(summarize(groups).strategies, cost, title, text), title)


@pytest.fixture
def strategies(run, groups):
    """Summaries of written runs: a function of what :func:`write_run` takes, one mapping for each run."""

    def written(*runs):
        for k, settings in enumerate(runs):
            run(f"run{k}", **settings)
        return groups()

    return written


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [((8, 2000), {"10", "100", "1,000"}), ((40, 700), {"50", "100", "200", "500"}), ((28,), set())],
)
def test_ticks_of_a_logarithm_are_round(strategies, seconds, ticks):
    runs = [{"strategy": f"s{k}", "seconds": value} for k, value in enumerate(seconds)]
    shown = labels(cost_svg(strategies(*runs), lambda s: s.seconds.mean, "seconds", PLAIN))
    assert ticks <= set(shown)
    assert len(shown[: shown.index("seconds")]) >= 2


def test_points_have_a_tooltip_and_all_have_labels_apart_from_one_another(strategies):
    groups = strategies(*({"strategy": f"strategy_{k}", "trainable": 900 + k, "val": 0.9 - k / 100} for k in range(24)))
    svg = cost_svg(groups, lambda s: s.trainable, "parameters", COUNT)
    for k in range(24):
        assert f"<title>strategy_{k}: {900 + k}, 100.0 %</title>" in svg
    named = [text for text in labels(svg) if text.startswith("strategy_")]
    assert len(set(named)) == 24


def test_places_are_as_near_as_can_be_and_a_gap_apart():
    assert spread_apart([10, 50], 12, 0, 100).tolist() == [10, 50]
    assert spread_apart([50, 50, 10], 12, 0, 100) == pytest.approx([44, 56, 10])
    assert spread_apart([99, 98], 12, 0, 100) == pytest.approx([100, 88])
    assert spread_apart([1, 2, 3], 12, 0, 100) == pytest.approx([0, 12, 24])


def test_a_long_label_keeps_both_ends():
    assert short_name("fine_tuning") == "fine_tuning"
    shown = [short_name(f"fine_tuning backbone.name=resnet{k} strategy.lr=0.001") for k in (18, 50)]
    assert all(len(text) == 19 for text in shown)
    assert shown[0].startswith("fine_tuni")
    assert shown[0].endswith("lr=0.001")


def test_dots_stand_at_their_accuracies_and_an_outlier_at_the_edge(strategies):
    truth = np.repeat(np.arange(3), 100)

    def wrong(count):
        return logits_of(np.where(np.arange(300) < count, (truth + 1) % 3, truth))

    runs = [("best", 0.9, 30), ("near", 0.8, 36), ("middle", 0.7, 45), ("scratch", 0.1, 280)]
    groups = strategies(*({"strategy": s, "val": v, "logits": wrong(n), "truth": truth} for s, v, n in runs))
    summary = summarize(groups).strategies
    low, high = accuracy_limits(summary)
    assert 0.7 < low < 0.85
    assert 0.9 < high < 1
    svg = to_svg(draw_accuracies(summary), "accuracies")
    assert [text for text in labels(svg) if text in [name for name, *_ in runs]] == [name for name, *_ in runs]
    assert {"90.0 %", "88.0 %", "85.0 %", "6.7 %"} <= set(labels(svg))
    places = re.findall(r"<title>(\w+): [\d.]+ %</title><(?:g|defs)?.*?translate\(([\d.]+) ", svg, re.DOTALL)
    dots = {name: float(x) for name, x in places}
    scale = 356 / (high - low)
    assert dots["best"] == pytest.approx(12 + scale * (0.9 - low), abs=0.1)
    assert dots["middle"] == pytest.approx(12 + scale * (0.85 - low), abs=0.1)
    assert dots["scratch"] == pytest.approx(12, abs=0.1)


def test_two_strategies_are_always_within_the_axis(strategies):
    groups = strategies({"strategy": "a"}, {"strategy": "b", "val": 0.5, "logits": logits_of((TRUTH + 1) % 3)})
    low, high = accuracy_limits(summarize(groups).strategies)
    assert low < 0
    assert high > 1

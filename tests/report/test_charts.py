"""The charts show what they are given, and their SVG can stand in any page."""

import re

import numpy as np
import pytest
from matplotlib.image import imread
from written_runs import write_run

from flowers_tl.report.charts import COLOURS, COUNT, PLAIN, Curve, cost_svg, curves_svg, draw_curves
from flowers_tl.report.summary import summarize
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


@pytest.mark.parametrize("epochs", [2, 3, 4, 7, 30])
def test_epochs_have_whole_ticks(epochs):
    below = labels(curves_svg([curve(*np.linspace(1, 0.5, epochs))], "train loss", epochs))
    ticks = below[: below.index("epoch")]
    assert len(ticks) >= 2
    assert all(tick.isdigit() and 1 <= int(tick) <= epochs for tick in ticks)


def test_accuracy_is_in_percent_and_loss_is_not():
    assert "60 %" in labels(curves_svg([curve(0.2, 0.7)], "validation accuracy", 2))
    assert not any("%" in text for text in labels(curves_svg([curve(0.2, 0.7)], "validation loss", 2)))


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [((8, 2000), {"10", "100", "1,000"}), ((40, 700), {"50", "100", "200", "500"}), ((28,), set())],
)
def test_ticks_of_a_logarithm_are_round(groups, seconds, ticks):
    runs = [{"strategy": f"s{k}", "seconds": value} for k, value in enumerate(seconds)]
    shown = labels(cost_svg(summarize(groups(*runs)).strategies, lambda s: s.seconds.mean, "seconds", PLAIN))
    assert ticks <= set(shown)
    assert len(shown[: shown.index("seconds")]) >= 2


def test_points_have_a_tooltip_and_labels_do_not_hide_each_other(groups):
    summary = summarize(groups(*({"strategy": f"strategy_{k}", "trainable": 900 + k} for k in range(30))))
    svg = cost_svg(summary.strategies, lambda s: s.trainable, "parameters", COUNT)
    for k in range(30):
        assert f"<title>strategy_{k}: {900 + k}, 100.0 %</title>" in svg
    named = [text for text in labels(svg) if text.startswith("strategy_")]
    assert 2 <= len(named) < 30  # there is no room for more beside points that lie on one another


def test_a_line_and_its_band_can_be_highlighted_and_the_cursor_moved():
    svg = curves_svg([curve(2, 1, 0.5), curve(3, 2, 1, spread=0.1), curve(level=0.5)], "train loss", 3)
    assert re.findall('class="series ([a-z ]*)" data-series="(.)"', svg) == [
        ("band", "0"), ("band", "1"), ("line", "0"), ("line", "1"), ("line level", "2")
    ]  # fmt: skip
    left, right, epochs = (float(re.search(f'data-{name}="(.*?)"', svg)[1]) for name in ("left", "right", "epochs"))
    assert epochs == 3
    line = re.search(r'class="series line" data-series="0".*?d="M ([\d.]+) [\d.]+ (.*?)"', svg, re.DOTALL)
    assert float(line[1]) == pytest.approx(left)
    assert float(line[2].split()[-2]) == pytest.approx(right)
    cursor = re.search(r'class="cursor".*?d="M ([\d.]+)', svg, re.DOTALL)
    assert float(cursor[1]) == pytest.approx(right)


def test_the_png_has_a_panel_for_each_curve_in_the_colours_of_the_page(groups, tmp_path):
    draw_curves(
        groups({"seed": 0}, {"seed": 1, "val": 0.5}, {"strategy": "linear_probe", "epochs": 0}), tmp_path / "a.png"
    )
    pixels = (imread(tmp_path / "a.png")[..., :3] * 255).round().astype(int)
    assert pixels.shape[1] > 2.5 * pixels.shape[0]
    # Losses and accuracy of the first group stand in each third; the solved head has no train loss.
    thirds = np.array_split(pixels[: int(0.8 * len(pixels))], 3, axis=1)
    for colour, expected in ((COLOURS[0], [True, True, True]), (COLOURS[1], [False, True, True])):
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        assert [bool((third == wanted).all(axis=2).any()) for third in thirds] == expected


def test_points_and_bands_stand_at_their_values():
    """The axes is 212 points high and 44 above the lower edge of 270; its upper limit is 5 % above the highest value."""

    def height(value, highest):
        return pytest.approx(270 - 44 - 212 * value / (1.05 * highest), abs=0.01)

    point = curves_svg([curve(2), curve(1)], "train loss", 1)
    assert [float(y) for y in re.findall(r'class="series dot".*?translate\(48 ([\d.]+)\)', point, re.DOTALL)] == [
        height(2, 2),
        height(1, 2),
    ]
    band = curves_svg([curve(3, 2, spread=0.5)], "train loss", 2)
    path, shift = re.search(
        r'class="series band".*?d="(.*?)" transform="translate\(0 (\d+)\)"', band, re.DOTALL
    ).groups()
    heights = {float(shift) + float(y) for y in re.findall(r"[ML] [\d.]+ (-?[\d.]+)", path)}
    assert sorted(heights) == [height(3.5, 3.5), height(2.5, 3.5), height(1.5, 3.5)]

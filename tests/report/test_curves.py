"""Learning curves show what runs recorded: whole epochs, labelled ends, and no axis that outliers stretch."""

import re

import numpy as np
import pytest
from matplotlib.image import imread

from flowers_tl.report.curves import Curve, cut, draw_cursor, draw_curves, find_limits, load_curves
from flowers_tl.report.palette import COLOURS
from flowers_tl.report.svg import to_svg


def curve(*mean, label="tuned", spread=0.0, level=None):
    return Curve(label, np.arange(1, len(mean) + 1), np.array(mean), np.full(len(mean), spread), level)


def curves_svg(curves, title, epochs):
    """The panel of the page."""
    figure, places = draw_cursor(curves, title, epochs)
    return to_svg(figure, title, class_="curves", **places)


def labels(svg):
    """The text in a chart."""
    return re.findall(r"<text.*?>(.*?)</text>", svg)


@pytest.mark.parametrize("epochs", [2, 3, 4, 7, 30])
def test_epochs_have_whole_ticks(epochs):
    below = labels(curves_svg([curve(*np.linspace(1, 0.5, epochs))], "train loss", epochs))
    ticks = below[: below.index("epoch")]
    assert len(ticks) >= 2
    assert all(tick.isdigit() and 1 <= int(tick) <= epochs for tick in ticks)


def test_accuracy_is_in_percent_and_loss_is_not():
    assert "60 %" in labels(curves_svg([curve(0.2, 0.7)], "validation accuracy", 2))
    assert not any("%" in text for text in labels(curves_svg([curve(0.2, 0.7)], "validation loss", 2)))


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


def test_the_png_has_a_panel_for_each_curve_in_the_colours_of_the_page(run, groups, tmp_path):
    run("a", seed=0)
    run("b", seed=1, val=0.8)
    run("c", strategy="linear_probe", epochs=0, val=0.5)
    draw_curves(groups(), tmp_path / "a.png")
    pixels = (imread(tmp_path / "a.png")[..., :3] * 255).round().astype(int)
    assert pixels.shape[1] > 2.5 * pixels.shape[0]
    # Losses and accuracy of the first group stand in each third; the solved head has no train loss.
    thirds = np.array_split(pixels[: int(0.8 * len(pixels))], 3, axis=1)
    for colour, expected in ((COLOURS[0], [True, True, True]), (COLOURS[1], [False, True, True])):
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        assert [bool((third == wanted).all(axis=2).any()) for third in thirds] == expected


def test_curves_are_means_over_seeds_as_far_as_all_have_them(run, groups):
    run("a", seed=0, val=0.4)
    run("b", seed=1, val=0.6, epochs=2)
    (curve,) = load_curves(groups(), "val/accuracy")
    assert curve.epochs.tolist() == [1, 2]
    assert curve.mean.tolist() == pytest.approx([0.25, 0.375])
    assert curve.spread.tolist() == pytest.approx([0.1 / 2**0.5, 0.15 / 2**0.5])


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


def test_each_curve_is_labelled_at_its_end_and_no_two_labels_meet():
    curves = [curve(0.3, 0.8 + k / 1000, label=f"strategy_{k}") for k in range(24)]
    svg = curves_svg(curves, "validation accuracy", 2)
    assert sorted(text for text in labels(svg) if "strategy" in text) == sorted(c.label for c in curves)
    heights = sorted(float(y) for y in re.findall(r"translate\(278 ([\d.]+)\)", svg) or label_heights(svg))
    assert min(np.diff(heights)) >= 12
    # In the order of the ends, the highest first.
    named = dict(zip(label_names(svg), label_heights(svg), strict=True))
    assert sorted(named, key=named.get) == [f"strategy_{k}" for k in range(23, -1, -1)]


def label_names(svg):
    return [text for text in labels(svg) if text.startswith("strategy")]


def label_heights(svg):
    return [
        float(y)
        for y, text in re.findall(r'<text[^>]*?(?:y="|translate\([\d.]+ )([\d.]+)[^>]*>(.*?)</text>', svg)
        if text.startswith("strategy")
    ]


def test_an_outlier_is_marked_at_the_edge_and_stretches_no_axis():
    good = [curve(0.70 + k / 100, 0.84 + k / 100, 0.88, 0.9 + k / 100, label=f"good{k}") for k in range(4)]
    bad = curve(0.02, 0.05, 0.1, 0.2, label="from_scratch")
    low, high = find_limits([*good, bad], accuracy=True)
    assert low > 0.5
    assert high < 1
    svg = curves_svg([*good, bad], "validation accuracy", 4)
    assert "from_scratch 20 %" in labels(svg)
    assert svg.count('class="series end"') == 1
    assert find_limits([curve(2.0, 1.0), curve(900.0, 800.0), curve(1.5, 0.8), curve(2.2, 1.1)], accuracy=False) == (
        0,
        pytest.approx(1.05 * 2.2),
    )


def test_a_line_ends_where_it_leaves_the_axis():
    x, y = cut(np.array([1, 2, 3]), np.array([0.0, 4.0, 1.0]), 0.0, 2.0)
    assert x.tolist() == [1, 1.5, 2, pytest.approx(2 + 2 / 3), 3]
    assert np.nan_to_num(y, nan=-1).tolist() == [0, 2, -1, 2, 1]


@pytest.mark.parametrize("count", [8, 12])
def test_where_colours_come_again_lines_have_markers_and_no_band_hides_them(count):
    figure, _ = draw_cursor(
        [curve(*np.linspace(0.1, 0.8 - k / 100, 15)) for k in range(count)], "validation accuracy", 15
    )
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 15]
    assert [line.get_marker() not in ("None", None) for line in lines] == [k >= 8 for k in range(count)]
    assert len(figure.axes[0].collections) == (8 if count == 8 else 0)

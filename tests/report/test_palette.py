"""Eight strategies can be told apart by colour-blind readers too, on light and dark pages."""

from itertools import combinations

import numpy as np
import pytest

from flowers_tl.report.palette import COLOURS, DARK, css_class, css_variables, dot_style

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VIEWS = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "all colours": np.eye(3),
}
# Linear RGB to CIE XYZ under D65 (sRGB, IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    """Linear RGB of ``#rrggbb``."""
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB."""
    part = (XYZ @ rgb) / XYZ.sum(axis=1)
    x, y, z = np.where(part > (6 / 29) ** 3, np.cbrt(part), part / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(first, second):
    """Contrast of two colours as WCAG 2 defines it."""
    low, high = sorted(XYZ[1] @ linear(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def test_the_measures_are_those_of_the_books():
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("colours", [COLOURS, DARK], ids=["light", "dark"])
def test_any_two_of_eight_colours_differ(colours, view):
    seen = [lab(np.clip(np.array(VIEWS[view]) @ linear(colour), 0, 1)) for colour in colours]
    assert len(seen) == 8
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 15


@pytest.mark.parametrize(("colours", "pages"), [(COLOURS, ("#fdfcfa", "#ffffff")), (DARK, ("#15181a",))])
def test_each_colour_stands_out_from_its_page(colours, pages):
    assert min(contrast(colour, page) for colour in colours for page in pages) >= 3


def test_colour_and_marker_together_are_never_the_same_twice():
    assert len({tuple(dot_style(number).values()) for number in range(64)}) == 64
    assert len({css_class(number) for number in range(32)}) == 32
    # Neighbours differ in both.
    assert all(
        a != b for a, b in zip(*([dot_style(n)["marker"] for n in range(k, 20 + k)] for k in (0, 1)), strict=True)
    )


def test_the_page_has_the_same_colours():
    assert css_variables().startswith("--s0: light-dark(#196ec5, #297dc9); --s1: ")
    assert css_variables().count("light-dark") == 8

"""What is drawn of what networks see: the right things, in the right places, and all of it readable."""

from importlib.util import find_spec

import numpy as np
import pytest
from matplotlib.figure import Figure

from flowers_tl.inference.explanations import Explanation, explain_images, explain_same_classes
from flowers_tl.inference.figures import PANEL, draw_explanations
from flowers_tl.utils.notes import log_note
from tests.inference.explained import NAMES as SHORT
from tests.inference.explained import draw_images, make, prepared

pytestmark = pytest.mark.skipif(
    not find_spec("captum"), reason="needs captum: pip install '.[explain]' in a checkout of the project"
)

SHAPES = {
    "wide, [a=b] $\\frac$.jpg": (90, 40),
    "a tall one of 100 letters " + 75 * "x" + ".png": (40, 110),
    "花.jpg": (50, 50),
}
LONG = "a daisy whose name is as long as only botanists know how to make them, subspecies "
NAMES = ("rose", *(LONG + f"number {k}" for k in range(50)))


@pytest.fixture(scope="module")
def drawn_images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("photos of mine"), SHAPES)


def test_heat_and_difference_are_where_they_belong_and_in_the_right_colours(tmp_path, figures):
    top_left, right = np.zeros((2, 224, 224), np.float32)
    top_left[20:60, 20:60], right[:, 150:] = 2, 1
    views = [
        Explanation(
            "f.png",
            np.full((64, 64, 3), 0.5, np.float32),
            (("rose", 1.0),),
            ("rose", 1.0),
            values,
            "layer1, 16 by 16 places",
        )
        for values in (top_left, right)
    ]
    draw_explanations([views[:1], views[1:]], tmp_path / "f.png", ["one", "two"])
    _, first, second, difference = figures[0].axes[:4]
    hot = first.images[0].get_array().sum(axis=2)
    assert hot[20:60, 20:60].min() > hot[80:, 80:].max()
    line = np.concatenate([path.vertices for path in first.collections[0].get_paths()])
    assert line.min() > 0.05
    assert line.max() < 0.3  # x from the left, y from the top
    assert second.images[0].get_array().sum(axis=2)[:, 150:].max() < hot[20:60, 20:60].min()  # one scale: half as hot
    red, green, blue = np.moveaxis(difference.images[0].get_array(), 2, 0)
    assert (red > blue + 0.1)[:, 150:].all()  # B looks more
    assert (blue > red + 0.1)[20:60, 20:60].all()  # A looks more
    assert np.ptp([red[100:, :100], green[100:, :100], blue[100:, :100]]) < 0.01  # both alike


@pytest.mark.parametrize("kind", ["answers", "answers with heat", "heat", "pair"])
@pytest.mark.parametrize(("count", "names"), [(1, SHORT), (1, NAMES), (3, NAMES)], ids=["short", "long", "three"])
def test_all_text_is_inside_and_none_lies_on_another(kind, count, names, drawn_images, tmp_path, figures, recwarn):
    network, path = (
        make(names, name="a_strategy of resnet18, " + 6 * "outputs/2026-01-31/" * (names is NAMES)),
        tmp_path / "f.png",
    )
    inputs = dict(list(prepared(network, drawn_images).items())[:count])
    views = explain_images(network, inputs, heat=kind != "answers", targets=[names[1]] * count, stage="layer1", top=50)
    if kind.startswith("answers"):
        draw_explanations([views], path, [network.name], bars=True)
    else:
        draw_explanations([views, views] if kind == "pair" else [views], path, [network.name] * (1 + (kind == "pair")))
    (figure,) = figures
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    frame = figure.bbox.padded(1)
    shown = [text for text in all_text(figure) if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    for text, box in boxes:
        assert frame.contains(box.x0, box.y0), text
        assert frame.contains(box.x1, box.y1), text
    panels = [axis for axis in figure.axes if axis.images]
    assert min(axis.bbox.width for axis in panels) > 0.8 * PANEL * figure.dpi  # however much text there is
    for axis in figure.axes:
        for text in (axis.title, axis.xaxis.label):
            assert not [other for other in figure.axes if text.get_window_extent().overlaps(other.bbox.padded(-1))]
    for k, (text, box) in enumerate(boxes):
        assert not [other for other, its in boxes[:k] if box.padded(-1).overlaps(its.padded(-1))], text


def all_text(figure: Figure) -> list:
    texts = [figure._suptitle]
    for axis in figure.axes:
        ticks = [tick.label1 for tick in axis.xaxis.get_major_ticks() if axis.xaxis.label.get_text()]
        shown = [tick for tick in ticks if axis.get_xlim()[0] <= tick.get_position()[0] <= axis.get_xlim()[1]]
        texts += [axis.title, axis.xaxis.label, *axis.texts, *shown]
    return texts


def test_maps_have_one_scale_and_the_difference_is_white_where_there_is_none(drawn_images, tmp_path, figures):
    first, second = make(NAMES), make(NAMES, seed=1)
    seen = explain_same_classes([first, second], prepared(first, drawn_images), stage="layer1")
    draw_explanations(seen, tmp_path / "f.png", ["one", "two"])
    heat, apart = figures[0].axes[-2:]
    most = max(view.evidence.max() for views in seen for view in views)
    assert heat.get_xlim() == pytest.approx((0, most))
    assert apart.get_xlim()[0] == -apart.get_xlim()[1]
    assert apart.get_xlim()[1] == pytest.approx(
        max(abs(b.evidence - a.evidence).max() for a, b in zip(*seen, strict=True))
    )


def test_letters_that_no_font_has_are_told(tmp_path, capsys):
    log_note.cache_clear()
    for number, name in enumerate(["caf\udce9", "وردة", "\N{EGYPTIAN HIEROGLYPH M008}"]):
        view = Explanation(
            "f.png",
            np.full((64, 64, 3), 0.5, np.float32),
            ((name, 1.0),),
            (name, 1.0),
            np.zeros((224, 224), np.float32),
            "",
        )
        draw_explanations([[view]], tmp_path / f"{number}.png", ["one"], bars=True)
    assert capsys.readouterr().err == (
        f"Note: {tmp_path / '2.png'} shows boxes for letters that no font here has: install one that has, such as Noto "
        "Sans CJK.\n"
    )

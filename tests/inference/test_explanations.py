"""Explanations are of the crop that the network sees, and of one class for all networks."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from flowers_tl.inference.explanations import explain_images, explain_same_classes
from flowers_tl.utils.errors import UserError
from tests.inference.explained import NAMES, draw_images, make, prepared

pytestmark = pytest.mark.skipif(
    not find_spec("captum"), reason="needs captum: pip install '.[explain]' in a checkout of the project"
)
SHAPES = {"wide.jpg": (90, 40), "tall.png": (40, 110), "花.jpg": (50, 50)}


@pytest.fixture(scope="module")
def drawn_images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("photos of mine"), SHAPES)


def test_the_second_network_looks_for_what_the_first_answers_or_for_what_is_named(drawn_images):
    first, second = make(size=96), make(NAMES[::-1], seed=1, size=64)  # another order of classes, another size
    seen = explain_same_classes([first, second], prepared(first, drawn_images), top=len(NAMES))
    for a, b in zip(*seen, strict=True):
        assert a.target == a.top[0]
        assert b.target in b.top
        assert a.target[0] == b.target[0]
        assert a.evidence.shape == b.evidence.shape
        assert (a.pixels.shape, b.pixels.shape) == ((96, 96, 3), (64, 64, 3))
    seen = explain_same_classes([first, second], prepared(first, drawn_images), wanted="rose")
    assert {view.target[0] for views in seen for view in views} == {"rose"}
    with pytest.raises(UserError, match="has no class 'rosse': did you mean 'rose'"):
        explain_same_classes([first, second], prepared(first, drawn_images), wanted="rosse")
    with pytest.raises(UserError, match="other has no class 'rose'"):
        explain_same_classes(
            [first, make(["tulip", "lily"], name="other")], prepared(first, drawn_images), wanted="rose"
        )


def test_what_is_shown_is_what_the_network_sees(tmp_path):
    shown = np.zeros((80, 160, 3), np.uint8)
    shown[:, 40:120] = 255  # of a wide image it sees the middle
    Image.fromarray(shown).save(tmp_path / "wide.png")
    network = make()
    (view,) = explain_images(network, prepared(network, tmp_path), heat=False)
    assert view.pixels.shape == (64, 64, 3)
    assert view.pixels.min() > 0.98
    assert view.places == ""


def test_heat_compares_networks_whose_logits_differ_in_size(drawn_images):
    network, louder = make(), make()
    with torch.no_grad():
        louder.backbone.network.fc.weight *= 10
    own, other = explain_same_classes([network, louder], prepared(network, drawn_images), stage="layer1")
    for a, b in zip(own, other, strict=True):
        assert a.evidence.max() > 0
        assert a.evidence.min() >= 0
        np.testing.assert_allclose(a.evidence, b.evidence, rtol=1e-3, atol=1e-4)

"""The card's code makes images square as the network's weights expect it."""

import copy
from dataclasses import replace

import pytest

from flowers_tl.data.transforms import Preprocessing, eval_transform
from flowers_tl.exporting.export import export
from flowers_tl.inference.predictor import Predictor
from tests.exporting.cards import answers_of_card, odd_images

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_the_code_on_the_card_prepares_images_as_the_networks_weights_expect(calibrated, tmp_path, fit):
    how = Preprocessing(fit=fit, interpolation="bicubic", mean=[0.5, 0.4, 0.3], std=[0.5, 0.25, 1.0])
    trained = replace(calibrated, model=copy.deepcopy(calibrated.model))
    trained.model.backbone.preprocessing = how
    export(trained, tmp_path / "out", ["safetensors"])
    image = {"a": odd_images(tmp_path)["cmyk"]}
    network = Predictor.load(calibrated.path, "cpu")
    plain = network.predict(image["a"])[0]
    network.transform = eval_transform(32, how)
    (own,) = network.predict(image["a"])
    lines = answers_of_card("model.safetensors", tmp_path / "out" / "README.md", image)["a"]
    shares = {label: float(share) for share, label in lines}
    assert shares == pytest.approx(dict(own.top), abs=1e-4)
    assert shares != pytest.approx(dict(plain.top), abs=1e-3)
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("of the colour 128, 102, 76" in card) == (fit == "pad")
    assert ("which changes its shape" in card) == (fit == "squash")
    assert "bicubic, antialiased" in card
    assert "0.5, 0.4, 0.3" in card

"""The card's code reads images as ``predict`` does, and refuses what it refuses."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from flowers_tl.exporting.export import export
from flowers_tl.inference.predictor import Predictor
from tests.exporting.cards import odd_images, same_answers

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")


@pytest.fixture
def ranged(calibrated):
    """The run, as if its images had been read with data.value_range."""
    data = calibrated.record["data"] | {"value_range": [0, 255]}
    return replace(calibrated, record=calibrated.record | {"data": data})


def test_the_code_on_the_card_prepares_odd_images_as_predict_does(out, calibrated, tmp_path):
    agreed, refused = same_answers(odd_images(tmp_path), out, Predictor.load(calibrated.path, "cpu"))
    assert agreed == {"sixteen", "grey alpha", "colour alpha", "palette", "cmyk", "float", "white is zero"}
    assert refused == {"signed", "eight", "wide"}


def test_the_code_on_the_card_knows_the_range_of_the_training_images(ranged, tmp_path):
    export(ranged, tmp_path / "out")
    network = Predictor.load(ranged.path, "cpu")
    network.value_range = [0, 255]
    images = {name: file for name, file in odd_images(tmp_path).items() if name in ("signed", "wide", "float")}
    assert same_answers(images, tmp_path / "out", network) == ({"signed", "wide", "float"}, set())


@pytest.mark.real_data
def test_the_code_on_the_card_agrees_on_the_cases(out, calibrated):
    # The code has no bounds of memory, as the package has: it is for one's own image.
    files = [*(Path(os.environ["FLOWERS102_ROOT"]) / "cases").glob("*.[pt]*")]
    images = {file.name: file for file in files if not file.name.startswith("thin")}
    agreed, refused = same_answers(images, out, Predictor.load(calibrated.path, "cpu"))
    assert refused == {"int32_255.tif"}
    assert agreed >= {"float01.tif", "grey_alpha.png", "sixteen.png", "white_is_zero_16.tif"}

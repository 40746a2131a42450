"""Images of numbers that need a range are right from training to report, and wrong ones of earlier versions are not taken."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import flowers_tl
from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.registry import make_data
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.report.thumbnails import load_thumbnails
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs import run_id
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


def test_a_run_on_wrongly_decoded_images_is_another_run(scans, config, monkeypatch):
    composed = config(["data=folder", f"data.root={scans}", "data.value_range=[0,255]"])
    data = make_data(composed)
    data.setup()
    now = run_id.identify(composed, data)["id"]
    monkeypatch.setattr(run_id, "find_traits", lambda files: set())
    assert run_id.identify(composed, data)["id"] != now


def test_training_predicting_and_reports_read_them_alike(scans, config, tmp_path):
    words = [f"data.root={scans}", "data.value_range=[0,255]", "data.image_size=32", "backbone.weights=null"]
    words += ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    result = train(config(["data=folder", *words]), tmp_path / "run")
    assert "left_out" not in result["data"]
    assert not find_undecodable(sorted(scans.rglob("*.tif")), value_range=load_trained(tmp_path / "run").value_range)
    network, split = flowers_tl.load(tmp_path / "run"), Predictions.read(tmp_path / "run").splits["test"]
    for name, logits in zip(split.images, torch.tensor(split.logits), strict=True):
        (answer,) = network.predict(scans / name)
        assert answer.probabilities == pytest.approx(logits.softmax(0).sort(descending=True).values.tolist(), abs=1e-5)
    thumbnails, missing = load_thumbnails(split.images, scans, result["data"]["value_range"])
    assert not missing
    for thumbnail in thumbnails.values():
        shown = Image.open(io.BytesIO(base64.b64decode(thumbnail.address.partition(",")[2])))
        assert 20 < np.asarray(shown).mean() < 235


def test_without_a_range_they_are_left_out_by_name(scans, config, capsys):
    with pytest.raises(UserError, match="No image of class 'aster'"):
        make_data(config(["data=folder", f"data.root={scans}"])).setup()
    assert "1.tif can't be read as an image: TIFF of 32 bits, signed," in capsys.readouterr().err


@pytest.mark.parametrize("value", ["[0]", "[255,0]", "[0,0]", "[0,inf]", "[nan,1]", "[0,1,2]"])
def test_a_range_that_is_none_is_refused(scans, config, value):
    with pytest.raises(
        UserError, match=r"data\.value_range=.* must be two numbers, the value of black and a larger one of white"
    ):
        make_data(config(["data=folder", f"data.root={scans}", f"data.value_range={value}"]))

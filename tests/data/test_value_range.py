"""Images of numbers that need a range are right from training to report, and wrong ones of earlier versions are not taken."""

import base64
import io

import numpy as np
import PIL
import pytest
import torch
import torchvision
from odd_images import tiff
from PIL import Image

import flowers_tl
from flowers_tl.data.cached.content_hash import describe_images
from flowers_tl.data.cached.decoded_images import open_images
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.registry import make_data
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.report.thumbnails import load_thumbnails
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs import run_id
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


@pytest.fixture
def scans(photos):
    """Drawn flowers as TIFFs of 32-bit integers from 0 to 255, and one of float from 0 to 1."""
    folder = photos({"aster": 6, "rose": 6})
    for file in sorted(folder.rglob("*.jpg")):
        grey = np.asarray(Image.open(file).convert("L"))
        first = file.name == "0.jpg"
        file.with_suffix(".tif").write_bytes(tiff((grey / 255).astype("<f4") if first else grey.astype("<i4")))
        file.unlink()
    return folder


def test_old_keys_stay_and_wrongly_decoded_images_get_others(photos, scans, tmp_path):
    def old(files):
        known = describe_images(files, 37, None)
        versions = {"reading": 2, "pillow": PIL.__version__, "torchvision": torchvision.__version__}
        return {"contents": known["contents"], "pictures": len(files), "short_side": 37, **versions}

    right = sorted(photos({"a": 3, "b": 3}, "right").rglob("*.jpg"))
    right.append(tmp_path / "sixteen.tif")
    right[-1].write_bytes(tiff(np.full((40, 40), 30000, "<u2")))
    assert describe_images(right, 37, None) == describe_images(right, 37, None, (0, 255)) == old(right)
    wrong = sorted(scans.rglob("*.tif"))[:2]
    keys = [describe_images(wrong, 37, None, limits) for limits in (None, (0, 255), (0, 200))]
    assert len({str(key) for key in [old(wrong), *keys]}) == 4
    # What an earlier version has left: black images.
    cache = Cache(tmp_path / "cache")
    cache.get("pictures", "", old(wrong), "decode", lambda writer: [writer.write(torch.zeros(37, 37, 3).byte())] * 2)
    assert all(image.any() for image in open_images(cache, wrong, 37, "", value_range=(0, 255)).kept)


def test_a_run_on_wrongly_decoded_images_is_another_run(scans, config, monkeypatch):
    composed = config(["data=folder", f"data.root={scans}", "data.value_range=[0,255]"])
    data = make_data(composed)
    data.setup()
    now = run_id.identify(composed, data)["id"]
    monkeypatch.setattr(run_id, "any_needs_range", lambda files: False)
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
    thumbnails, missing = load_thumbnails(split.images, [scans], result["data"]["value_range"])
    assert not missing
    for thumbnail in thumbnails.values():
        shown = Image.open(io.BytesIO(base64.b64decode(thumbnail.address.partition(",")[2])))
        assert 20 < np.asarray(shown).mean() < 235


def test_without_a_range_they_are_left_out_by_name(scans, config, capsys):
    with pytest.raises(UserError, match="No image of the class 'aster'"):
        make_data(config(["data=folder", f"data.root={scans}"])).setup()
    assert "1.tif can't be read as an image (TIFF of 32 bits, signed," in capsys.readouterr().err


@pytest.mark.parametrize("value", ["[0]", "[255,0]", "[0,0]", "[0,inf]", "[nan,1]", "[0,1,2]"])
def test_a_range_that_is_none_is_refused(scans, config, value):
    with pytest.raises(UserError, match=r"data\.value_range=.* must be the number of black and a higher one of white"):
        make_data(config(["data=folder", f"data.root={scans}", f"data.value_range={value}"]))

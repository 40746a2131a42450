"""What is sure is sure by the val predictions of the run, and a program gets the same classes as a visitor."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

import flowers_tl
from flowers_tl.inference.web_answers import describe_certainty, endpoint, explain_threshold, find_threshold
from flowers_tl.results.predictions import Predictions
from flowers_tl.results.statistics import probabilities
from flowers_tl.utils.errors import UserError

TOP = [("rose", 0.5), ("a_b", 0.3), ("daisy", 0.2)]


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        (None, "**rose (50.0%)**"),
        (0.4, "**rose (50.0%)**"),
        (0.3, r"**Not sure**: rose (50.0%) or a_b (30.0%)."),
        (0.6, "**Not sure**: no class is likely enough. The first is rose (50.0%)."),
        (0.1, "**Not sure**: rose (50.0%) or a_b (30.0%) or daisy (20.0%), or others."),
    ],
)
def test_one_class_that_reaches_the_threshold_is_sure(threshold, text):
    assert describe_certainty(TOP, threshold) == text


def test_a_visitor_learns_what_sure_means():
    assert explain_threshold(None, 0.1) == ""
    assert "at least 31.2%, which the true class of 90% of the run's validation images has" in explain_threshold(
        0.312, 0.1
    )


@pytest.fixture
def run(run_folder, tmp_path):
    """A copy of the run, and its val predictions."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run", Predictions.read(run_folder).splits["val"]


def test_the_threshold_is_that_of_prediction_sets_by_val(run):
    folder, val = run
    threshold = find_threshold(flowers_tl.load(folder, "cpu"), 0.2)
    true = probabilities(val.logits)[np.arange(len(val.labels)), val.labels]
    # Of six images one may be missed: floor(7 * 0.2).
    assert threshold == np.sort(true)[0]
    assert (true >= threshold).mean() >= 0.8
    with pytest.raises(UserError, match=r"conformal=1\.5 must lie between 0 and 1"):
        find_threshold(flowers_tl.load(folder, "cpu"), 1.5)


def test_without_val_predictions_of_these_weights_nothing_is_not_sure(run):
    folder, _ = run
    assert find_threshold(flowers_tl.load(folder, "cpu"), 0.01) is None  # too few images
    assert find_threshold(flowers_tl.load(folder / "checkpoints" / "best.ckpt", "cpu"), 0.2) is None
    (folder / "predictions.npz").unlink()
    assert find_threshold(flowers_tl.load(folder, "cpu"), 0.2) is None


def test_a_program_gets_the_classes_by_http(run_folder, tested):
    testclient = pytest.importorskip("starlette.testclient", reason="needs gradio's starlette: pip install '.[serve]'")
    pytest.importorskip("httpx", reason="needs httpx, which gradio brings")
    from starlette.applications import Starlette

    network, (_, files) = flowers_tl.load(run_folder, "cpu"), tested
    client = testclient.TestClient(Starlette(routes=[endpoint(network, 1, 0.0)]))
    answer = client.post("/predict", content=files[0].read_bytes())
    (wanted,) = network.predict(files[0])
    assert [(one["class"], pytest.approx(one["probability"])) for one in answer.json()["classes"]] == wanted.top
    assert answer.json()["sure"] is False
    refused = client.post("/predict", content=b"no image")
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("The image can't be read as an image")
    large = io.BytesIO()
    Image.effect_noise((1200, 1200), 100).save(large, "png")
    assert client.post("/predict", content=large.getvalue()).status_code == 413
    assert client.get("/predict").status_code == 405

"""Strategies whose head is not the library's last layer do all that others do."""

import json

import pytest
import torch

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.transforms import normalise
from flowers_tl.exporting.export import export
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.inference.grad_cam import grad_cam
from flowers_tl.results.predictions import Predictions
from flowers_tl.training.factory import set_up_data
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


@pytest.fixture(scope="module", params=["knn", "side_probe"])
def run(request, config, tiny, resnet18_weights, tmp_path_factory):
    """Config and folder of a finished run."""
    asked = config(tiny(strategy=request.param, backbone__weights=resnet18_weights))
    folder = tmp_path_factory.mktemp(request.param) / "run"
    train(asked, folder)
    return asked, folder


def test_its_checkpoint_predicts_what_the_run_has_measured(run, tested_images):
    asked, folder = run
    trained, split = load_trained(folder), Predictions.read(folder).splits["test"]
    with torch.no_grad():
        logits = trained.model(tested_images)
    torch.testing.assert_close(logits, torch.as_tensor(split.logits), rtol=1e-3, atol=1e-3)
    # Nothing of the backbone has moved.
    began = torch.load(asked["backbone"]["weights"], weights_only=True)
    now = trained.model.backbone.network.state_dict()
    assert all(torch.equal(now[name], value) for name, value in began.items() if not name.startswith("fc."))
    assert trained.record["epochs"] == 0


@pytest.fixture(scope="module")
def tested_images(config, tiny):
    data = set_up_data(config(tiny()))
    images = data.crops("test", None)
    return normalise(images.__getitems__(list(range(len(images))))[0])


def test_it_is_finished_and_other_choices_take_the_same_kept_features(run, tmp_path, monkeypatch):
    asked, folder = run
    assert train(asked | {"ckpt_path": "last"}, folder)["status"] == "finished"
    monkeypatch.setattr(Cache, "_build", lambda *_: pytest.fail("computed again"))
    other = {"head_from": ["layer2", "layer4"]} if asked["strategy"]["head_from"] else {"neighbours": [3]}
    result = train(asked | {"strategy": asked["strategy"] | other}, tmp_path / "run")
    assert result["id"] != json.loads((folder / "result.json").read_text())["id"]


def test_a_run_without_a_test_goes_on(run, tmp_path):
    asked, folder = run
    train(asked, tmp_path / "run", tested=False)
    result = train(asked | {"ckpt_path": "last"}, tmp_path / "run")
    first = json.loads((folder / "result.json").read_text())
    assert (result["test"], result["solved_head"]) == (first["test"], first["solved_head"])


def test_its_export_computes_the_same_and_a_state_dict_is_refused(run, tmp_path):
    trained = load_trained(run[1])
    _, agreements = export(trained, tmp_path / "out", ["onnx", "torch"])
    assert all(one.largest < 1e-4 for one in agreements.values())
    with pytest.raises(UserError, match="formats=safetensors can't be written"):
        export(trained, tmp_path / "state", ["safetensors"])
    assert not (tmp_path / "state").exists()


def test_a_heat_map_shows_what_a_stage_has_to_do_with_the_class(run):
    pytest.importorskip("captum")
    backbone, images = load_trained(run[1]).model.backbone, torch.randn(2, 3, 32, 32)
    # The score's gradient with respect to the stage's output, its own features' part in the head included.
    _, *earlier = entering if isinstance(entering := backbone.run(images, stop="layer3"), tuple) else (entering,)
    x = (entering[0] if earlier else entering).detach().requires_grad_()
    logits = backbone.run((x, *earlier) if earlier else x, start="layer3")
    (slope,) = torch.autograd.grad((logits - logits.mean(1, keepdim=True))[[0, 1], [0, 1]].sum(), x)
    expected = (slope.mean((2, 3), keepdim=True) * x).sum(1)
    torch.testing.assert_close(grad_cam(backbone, images, [0, 1], stage="layer2"), expected, rtol=1e-3, atol=1e-4)
    assert expected.abs().sum() > 0

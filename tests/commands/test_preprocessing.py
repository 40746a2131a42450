"""How a network's images are prepared is in its run's record, and whoever uses the network prepares them so."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from flowers_tl.config.keys import ARTICLE
from flowers_tl.data.transforms import Preprocessing, eval_transform
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.inference.evaluate import evaluate
from flowers_tl.inference.predictor import Predictor
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.protocol import by_protocol
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

VALUES = {"resize": 80, "crop": 64, "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 1.0]}


@pytest.fixture(scope="module")
def padded(tiny, config, tmp_path_factory):
    """A solved head of a run that prepares images in another way than the article."""
    words = tiny(strategy="linear_probe", data__fit="pad", data__flip="none")
    folder = tmp_path_factory.mktemp("padded") / "run"
    values = "{resize:80,crop:64,interpolation:bicubic,mean:[0.5,0.4,0.3],std:[0.5,0.25,1.0]}"
    train(config([*words, f"backbone.preprocessing={values}"]), folder)
    return folder


def test_the_record_has_the_values_in_all_its_places(padded):
    config, result = (
        yaml.safe_load((padded / "config.yaml").read_text()),
        json.loads((padded / "result.json").read_text()),
    )
    assert config["backbone"]["preprocessing"] == VALUES
    assert config["data"]["image_size"] == 32
    assert result["preprocessing"] == {"image_size": 32, "fit": "pad", **VALUES}
    assert result["protocol"]["preprocessing"] == {"fit": "pad", **VALUES}
    trained = load_trained(padded)
    assert trained.model.backbone.preprocessing == Preprocessing(**VALUES, fit="pad")
    assert trained.model.hparams.image_size == 32


def test_predict_and_evaluate_prepare_images_as_training_did(padded, tmp_path):
    network, kept = Predictor.load(padded, device="cpu"), np.load(padded / "predictions.npz")
    root = json.loads((padded / "result.json").read_text())["data"]["root"]
    logits = torch.cat([network.logits(network.prepare(f"{root}/{name}")[None]) for name in kept["test_pictures"]])
    assert logits.numpy() == pytest.approx(kept["test_logits"], rel=1e-4, abs=1e-5)
    # Not so in the article's way.
    network.transform = eval_transform(32)
    other = torch.cat([network.logits(network.prepare(f"{root}/{name}")[None]) for name in kept["test_pictures"]])
    assert (other - logits).abs().max() > 1e-2
    measured = evaluate(padded, out=tmp_path / "out")
    assert measured.predictions.logits == pytest.approx(kept["test_logits"], rel=1e-4, abs=1e-5)
    with pytest.raises(
        UserError, match=r"data\.fit can't differ from that of the network's training, pad: leave it out"
    ):
        evaluate(padded, overrides=["data.fit=crop"])


def test_a_record_without_preprocessing_means_the_articles(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "old")
    config = yaml.safe_load((tmp_path / "old" / "config.yaml").read_text())
    del config["backbone"]["preprocessing"], config["data"]["fit"], config["data"]["flip"]
    (tmp_path / "old" / "config.yaml").write_text(yaml.safe_dump(config))
    file = tmp_path / "old" / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    del content["hyper_parameters"]["preprocessing"], content["run"]["config"]["backbone"]["preprocessing"]
    torch.save(content, file)
    trained = load_trained(tmp_path / "old")
    assert trained.model.backbone.preprocessing == Preprocessing()
    assert trained.config["backbone"]["preprocessing"] == ARTICLE


def test_compare_takes_both_and_says_that_they_prepare_images_in_two_ways(padded, run_folder):
    runs, _ = find_runs([padded, run_folder])
    ((_, together),) = by_protocol(runs)
    groups, notes = group_runs(together)
    assert any("These runs prepare images in 2 ways" in note for note in notes)
    assert any("backbone.preprocessing.interpolation=bicubic" in group.label for group in groups)
    assert group_runs([run for run in runs if run.folder == padded])[1] == []


def test_a_checkpoint_with_wrong_values_is_refused(padded, tmp_path):
    content = torch.load(padded / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["preprocessing"]["resize"] = 10**6
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match=r"backbone\.preprocessing\.resize=1000000 must lie between"):
        load_trained(tmp_path / "bad.ckpt")

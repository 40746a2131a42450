"""A checkpoint says wherever it lies what it is; what is none is refused in one sentence."""

import json
import shutil

import pytest
import torch
from PIL import Image
from torch import Tensor

from flowers_tl.config.keys import LATER_KEYS
from flowers_tl.data.registry import make_data
from flowers_tl.inference.checkpoint import keep_temperature, load_trained
from flowers_tl.inference.predictor import Predictor
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs.read_record import ELSEWHERE
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


def weights(trained) -> dict[str, Tensor]:
    return trained.model.backbone.network.state_dict()


def test_a_run_folder_means_its_last_checkpoint(run_folder):
    last = run_folder / "checkpoints" / "last.ckpt"
    by_folder, by_file = load_trained(run_folder), load_trained(last)
    assert by_folder.path == by_file.path == last
    saved = torch.load(last, weights_only=True)["state_dict"]
    for name, tensor in weights(by_folder).items():
        assert torch.equal(tensor, saved[f"backbone.network.{name}"])
    assert not by_folder.model.training


def test_a_checkpoint_that_has_left_its_run_still_says_what_it_is(run_folder, tmp_path):
    shutil.copyfile(run_folder / "checkpoints" / "best.ckpt", tmp_path / "mine.ckpt")
    at_home, away = load_trained(run_folder), load_trained(tmp_path / "mine.ckpt")
    assert away.config == at_home.config
    assert away.config["data"]["image_size"] == away.model.hparams.image_size == 32
    for key in ("id", "protocol", "weights_fingerprint", "strategy", "seed", "versions"):
        assert away.record[key] == at_home.record[key]


def test_a_checkpoint_from_before_a_key_existed_has_it_at_its_default(run_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(LATER_KEYS, "compute.new", 4)
    shutil.copyfile(run_folder / "checkpoints" / "last.ckpt", tmp_path / "mine.ckpt")
    for path in (run_folder, tmp_path / "mine.ckpt"):
        assert load_trained(path).config["compute"]["new"] == 4


def test_scores_belong_to_the_weights_that_were_measured(run_folder, config, tiny, tmp_path):
    result = json.loads((run_folder / "result.json").read_text())
    assert load_trained(run_folder).measured == {split: result[split] for split in ("val", "test")}
    assert load_trained(run_folder / "checkpoints" / "best.ckpt").measured == {}
    shutil.copyfile(run_folder / "checkpoints" / "best.ckpt", tmp_path / "best.ckpt")
    assert load_trained(tmp_path / "best.ckpt").measured == {}
    result = train(config(tiny(test_best="true")), tmp_path / "run")
    best = {split: result["best"][split] for split in ("val", "test")}
    assert load_trained(tmp_path / "run" / "checkpoints" / "best.ckpt").measured == best


def test_the_record_of_another_run_in_the_folder_is_not_taken(run_folder, config, tiny, tmp_path):
    train(config(tiny(seed=5)), tmp_path / "run")
    shutil.copyfile(run_folder / "checkpoints" / "last.ckpt", tmp_path / "run" / "checkpoints" / "other.ckpt")
    found = load_trained(tmp_path / "run" / "checkpoints" / "other.ckpt")
    assert found.record["seed"] == 0
    assert found.measured == {}


def test_a_note_that_a_run_lies_elsewhere_is_followed(run_folder, tmp_path):
    (tmp_path / ELSEWHERE).write_text(json.dumps({"run": str(run_folder)}))
    assert torch.equal(*(weights(load_trained(p))["fc.weight"] for p in (tmp_path, run_folder)))


def test_one_of_many_heads_is_read_with_its_network(config, tiny, tmp_path):
    train(config(tiny(**{"heads.lr": "[0.001,0.01]"})), tmp_path / "run")
    heads = sorted(file.parent for file in (tmp_path / "run").glob("*/head.pt"))
    assert len(heads) == 2
    for head in heads:
        state = weights(load_trained(head))
        for name, tensor in torch.load(head / "head.pt", weights_only=True).items():
            assert torch.equal(state[name], tensor)
    with pytest.raises(UserError, match="can't hold a temperature"):
        keep_temperature(load_trained(heads[0]), 2.0)


def test_a_head_on_random_weights_is_read_with_these_very_weights(config, tiny, tmp_path):
    train(config(tiny(**{"heads.lr": "[0.001,0.01]"})), tmp_path / "run")
    head = min(file.parent for file in (tmp_path / "run").glob("*/head.pt"))
    kept, trained = Predictions.read(head).splits["val"], load_trained(head)
    network = Predictor(trained.model.backbone, trained.class_names, "cpu")
    root = make_data(trained.config).root
    (batch,) = network.batches([root / name for name in kept.images], len(kept.images))
    assert network.logits(batch[1]).numpy() == pytest.approx(kept.logits, abs=1e-4)


def test_a_head_is_not_read_on_other_weights(config, tiny, tmp_path):
    for number, name in enumerate(("first", "second")):
        torch.manual_seed(number)
        torch.save(StagedNetwork("resnet18", 3).network.state_dict(), tmp_path / f"{name}.pth")
    keys = {"heads.lr": "[0.001,0.01]", "backbone.weights": tmp_path / "first.pth"}
    train(config(tiny(**keys)), tmp_path / "run")
    head = min(file.parent for file in (tmp_path / "run").glob("*/head.pt"))
    load_trained(head)
    shutil.copyfile(tmp_path / "second.pth", tmp_path / "first.pth")
    with pytest.raises(UserError, match=r"have changed since .* was trained: restore the old weights"):
        load_trained(head)


def test_a_temperature_is_kept_and_training_can_go_on(run_folder, config, tiny, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    keep_temperature(load_trained(tmp_path / "run"), 1.7)
    assert load_trained(tmp_path / "run").temperature == 1.7
    longer = config([*tiny(strategy="fine_tuning"), "ckpt_path=last", "trainer.max_epochs=3"])
    assert train(longer, tmp_path / "run", ("ckpt_path", "trainer.max_epochs"))["epochs"] == 3


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "weights.pth")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    for job in ("first", "second"):
        (tmp_path / "sweep" / job / "checkpoints").mkdir(parents=True)
        (tmp_path / "sweep" / job / "checkpoints" / "last.ckpt").touch()
    for name, words in (
        ("nothing.ckpt", "is not there"),
        (".", "a folder without checkpoints/last.ckpt"),
        ("text.ckpt", "no checkpoint of this project"),
        ("weights.pth", "backbone.weights=FILE"),
        ("photo.jpg", r"photo\.jpg is no checkpoint of this project: use a run's folder"),
        ("sweep", "use one of its runs: .*first, .*second"),
    ):
        with pytest.raises(UserError, match=words) as error:
            load_trained(tmp_path / name)
        assert "\n" not in str(error.value)

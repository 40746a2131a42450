"""One run: what it measures, with which weights, and that it can be repeated."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from flowers_tl.results.predictions import Predictions
from flowers_tl.results.scores import compute_scores
from flowers_tl.training.feature_data import FeatureDataModule
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


def networks(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def run(config, tiny, tmp_path_factory):
    """Train in this process: a function of overrides that returns the run's folder."""

    def trained(**more) -> Path:
        folder = tmp_path_factory.mktemp("run") / "run"
        train(config(tiny(**more)), folder)
        return folder

    return trained


def test_a_run_is_repeatable_and_workers_do_not_matter(run):
    keys = {"backbone": "mobilenet_v2", "strategy": "fine_tuning"}  # it has dropout in its head
    first, again, workers = (networks(run(**keys, **more)) for more in ({}, {}, {"data__num_workers": 2}))
    for key, value in first.items():
        assert torch.equal(value, again[key]), key
        assert torch.equal(value, workers[key]), key


def test_any_metric_selects_and_is_recorded(run, config, tiny):
    """The best checkpoint is of the epoch whose score is best, the lowest where lower is better."""
    keys = {
        "strategy": "from_scratch",
        "trainer__max_epochs": 4,
        "data__val_per_class": 6,
        "strategy__table__0__lr": 3e-3,
    }
    for monitor, best in (("auroc", max), ("loss", min)):
        folder = run(**keys, monitor=f"val/{monitor}")
        kept = Predictions.read(folder).splits
        result = json.loads((folder / "result.json").read_text())
        for split in ("val", "test"):
            exact = compute_scores(kept[split].logits, kept[split].labels)[monitor]
            assert result[split][monitor] == pytest.approx(exact, abs=2e-6)
        with open(folder / "history.csv") as file:
            scores = [float(row[f"val/{monitor}"]) for row in csv.DictReader(file)]
        assert len(set(scores)) > 1
        best_epoch = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"]
        assert scores[best_epoch] == best(scores)
    # The last monitor is the loss.
    stopped = run(**keys, monitor="val/loss", regularisation="early_stopping", regularisation__early_stopping=1)
    worse = [k for k in range(1, 4) if min(scores[:k]) <= scores[k]]
    assert json.loads((stopped / "result.json").read_text())["epochs"] == (worse[0] + 1 if worse else 4)


def test_a_score_that_is_not_defined_ends_the_run(run):
    with pytest.raises(UserError, match="images are of one class"):
        run(monitor="val/auroc", trainer__limit_val_batches=1, data__batch_size=2)


def test_another_seed_is_another_run(run):
    one, other = networks(run()), networks(run(seed=1))
    assert not torch.equal(one["backbone.network.fc.weight"], other["backbone.network.fc.weight"])


def test_the_test_is_run_with_the_final_weights(run, config, tiny):
    from flowers_tl.data.registry import make_data
    from flowers_tl.data.transforms import normalise
    from flowers_tl.models.classifier import TransferClassifier

    folder = run(strategy="from_scratch", trainer__max_epochs=3)
    model = TransferClassifier.load_from_checkpoint(folder / "checkpoints" / "last.ckpt", map_location="cpu").eval()
    data = make_data(config(tiny()))
    data.prepare_data()
    data.setup()
    with torch.no_grad():
        parts = [(model(normalise(images)), labels) for images, labels in data.test_dataloader()]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    result = json.loads((folder / "result.json").read_text())["test"]
    assert result["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=2e-5)
    assert result["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item(), abs=1e-6)


def test_pretrained_weights_are_taken_over_and_stay(run):
    source = run(strategy="from_scratch", data__first_species=50)
    weights = source / "checkpoints" / "last.ckpt"
    target = run(backbone__weights=weights)
    before, after = networks(source), networks(target)
    for key in before:
        if key.startswith("backbone.network.") and ".fc." not in key:
            assert torch.equal(before[key], after[key]), key
    assert json.loads((target / "result.json").read_text())["weights"] == str(weights)


def test_from_scratch_wins_over_pretrained_weights(run):
    folder = run(strategy="from_scratch", backbone__weights="/not/even/there.pth")
    assert json.loads((folder / "result.json").read_text())["weights"] == "random"


@pytest.mark.parametrize("more", [{"check_val_every_n_epoch": 2}, {"val_check_interval": 0.5}, {"max_steps": 5}])
def test_val_is_measured_with_the_final_weights_whenever_lightning_validates(run, more):
    keys = {"strategy": "from_scratch", "backbone": "squeezenet1_1", "data__batch_size": 4}
    plain = run(**keys, trainer__max_epochs=3, **({"trainer__max_steps": 5} if "max_steps" in more else {}))
    other = run(**keys, trainer__max_epochs=3, **{f"trainer__{key}": value for key, value in more.items()})
    found = [json.loads((folder / "result.json").read_text()) for folder in (plain, other)]
    assert found[0]["val"] == found[1]["val"]
    assert found[0]["test"] == found[1]["test"]
    last = torch.load(other / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert last == (5 if "max_steps" in more else 9)


def test_what_is_limited_to_nothing_is_not_measured(run):
    folder = run(trainer__limit_val_batches=0, trainer__limit_test_batches=0, test_best="true")
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["val"] == result["test"] == {"accuracy": None, "balanced_accuracy": None, "loss": None}
    assert result["best"] is None


@pytest.mark.parametrize(
    "key", ["fast_dev_run=true", "overfit_batches=1", "accumulate_grad_batches=2", "precision=bf16-mixed"]
)
def test_trainer_keys_work(run, key):
    name, value = key.split("=")
    assert json.loads((run(**{f"trainer__{name}": value}) / "result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("limit", "views", "measured"), [("1", [], 4), ("1.0", [0, 1], 6), ("null", [0, 1], 6), ("0.5", [], 4)]
)
def test_one_batch_is_one_batch_and_counts_are_what_was_measured(run, capsys, monkeypatch, limit, views, measured):
    made, outputs = [], FeatureDataModule.outputs

    def noting(self, split, view, stage):
        made.append((split, view))
        return outputs(self, split, view, stage)

    monkeypatch.setattr(FeatureDataModule, "outputs", noting)
    limits = {f"trainer__limit_{split}_batches": limit for split in ("train", "val")}
    folder = run(strategy="feature_extraction", data__batch_size=4, trainer__limit_test_batches=1, **limits)
    assert sorted({view for split, view in made if split == "train"}) == views
    shown = capsys.readouterr().out
    assert re.search(rf"^val .*\({measured} images\)$", shown, re.MULTILINE)
    assert re.search(r"^test .*\(4 images\)$", shown, re.MULTILINE)
    assert json.loads((folder / "result.json").read_text())["measured"] == {"val": measured, "test": 4}


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer__fused": "true"},
        {"compute__channels_last": "false"},
        pytest.param({"compute__compile": "true"}, marks=pytest.mark.slow),
    ],
)
def test_what_makes_it_faster_changes_no_more_than_rounding(run, keys):
    plain, fast = (networks(run(strategy="fine_tuning", **more)) for more in ({}, keys))
    for key, value in plain.items():
        torch.testing.assert_close(value, fast[key], rtol=1e-2, atol=1e-3, msg=key)


def test_a_run_with_l2_sp_that_goes_on_ends_as_one_that_was_not_stopped(config, tiny, tmp_path, resnet18_weights):
    def last(name, **more):
        table = "[{stage:head,lr:1e-3},{stage:-1,lr:1e-3,l2_sp:5.0}]"
        keys = {"strategy": "l2_sp", "strategy.table": table, "backbone.weights": resnet18_weights, "proof": "false"}
        more = {"optimizer": "sgd", "trainer.gradient_clip_val": 1, "trainer.max_epochs": 2} | more
        train(config(tiny(**keys | more)), tmp_path / name, ("ckpt_path", "trainer.max_epochs"))
        return torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    whole, half = last("whole"), last("half", **{"trainer.max_epochs": 1})
    rest = last("rest", ckpt_path=tmp_path / "half" / "checkpoints" / "last.ckpt")
    name = "backbone.network.layer4.0.conv1.weight"
    assert not torch.equal(whole[name], half[name])
    assert all(torch.equal(rest[key], tensor) for key, tensor in whole.items() if "network" in key)

"""The curves are what they are called, and an averaged checkpoint leaves frozen tensors alone."""

import csv
import json
import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from flowers_tl.data.registry import make_data
from flowers_tl.data.transforms import normalise
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.callbacks import GroupCurves, MovingAverage
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

TABLE = [{"stage": "head", "lr": 1e-2}, {"stage": -1, "lr": 1e-3, "from_epoch": 1}]


def make() -> TransferClassifier:
    torch.manual_seed(0)
    return TransferClassifier("resnet18", 3, {"name": "mine", "table": TABLE}, optimizer={"name": "sgd"})


def fit(model, *callbacks, epochs=2) -> L.Trainer:
    torch.manual_seed(1)
    data = DataLoader(TensorDataset(torch.randn(8, 3, 32, 32), torch.arange(8) % 3), batch_size=4)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(model, data, data)
    return trainer


def norm(tensors) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def test_rates_gradients_and_distances_are_those_of_the_groups():
    rows, gradients = [], {}

    class Watch(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            for group in optimizer.param_groups:
                found = [p.grad for p in group["params"] if p.grad is not None]
                gradients.setdefault((trainer.current_epoch, group["name"]), []).append(norm(found))

        def on_train_epoch_end(self, trainer, module):
            rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    model = make()
    start = {name: p.detach().clone() for name, p in model.backbone.network.named_parameters()}
    fit(model, GroupCurves(), Watch())
    assert [row["lr/head"] for row in rows] == pytest.approx([1e-2, 1e-2])
    assert [row["lr/layer4"] for row in rows] == pytest.approx([0.0, 1e-3])
    assert rows[0]["distance/layer4"] == 0
    for name, stage in (("layer4", "layer4"), ("head", "fc")):
        moves = [p - start[n] for n, p in model.backbone.network.named_parameters() if n.startswith(stage)]
        assert rows[1][f"distance/{name}"] == pytest.approx(norm(moves), rel=1e-4)
        expected = gradients[1, name]
        assert rows[1][f"grad_norm/{name}"] == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    assert "grad_norm/layer4" not in rows[0]


def test_the_distance_of_a_solved_head_is_from_the_solution_after_a_resume_too(config, tiny, tmp_path):
    keys = {"strategy": "lp_ft", "trainer.max_epochs": 3}
    train(config(tiny(**keys)), tmp_path / "whole")
    train(config(tiny(**keys | {"trainer.max_epochs": 2})), tmp_path / "short")
    train(config(tiny(**keys | {"ckpt_path": "last"})), tmp_path / "short", ("ckpt_path", "trainer.max_epochs"))
    distances = []
    for name in ("whole", "short"):
        with open(tmp_path / name / "history.csv", newline="") as file:
            distances.append([float(row["distance/head"]) for row in csv.DictReader(file)])
    assert distances[0] == distances[1]
    assert 0 < distances[0][0] < 0.1  # from the random head it would be some units


def test_an_average_of_frozen_tensors_is_themselves_bit_for_bit():
    model = make()
    with torch.no_grad():
        model.backbone.network.bn1.bias[0] = -0.0  # which is equal to 0, and another pattern of bits
    before = {key: value.clone() for key, value in model.backbone.network.state_dict().items()}
    kept = {}

    class Keep(L.Callback):
        def on_train_end(self, trainer, module):
            kept.update({key: value.clone() for key, value in module.backbone.network.state_dict().items()})

    fit(model, MovingAverage(0.9), Keep(), epochs=2)
    for key, value in before.items():
        if not key.startswith(("fc", "layer4")):
            assert value.dtype == kept[key].dtype
            assert torch.equal(value.reshape(-1).view(torch.uint8), kept[key].reshape(-1).view(torch.uint8)), key
    assert not torch.equal(before["layer4.0.conv1.weight"], kept["layer4.0.conv1.weight"])


def test_the_average_is_exponential():
    class Weights(L.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, module, *rest):
            self.seen.append(module.backbone.network.fc.weight.detach().clone())

    model, weights = make(), Weights()
    fit(model, weights, MovingAverage(0.5), epochs=2)
    expected = weights.seen[0]
    for new in weights.seen[1:]:
        expected = 0.5 * expected + 0.5 * new
    assert torch.allclose(model.backbone.network.fc.weight, expected, atol=1e-7)


def test_what_is_kept_and_tested_is_the_average(config, tiny, tmp_path):
    keys = {"regularisation": "ema", "test_best": "true", "strategy": "full_fine_tuning", "trainer.max_epochs": 3}
    keys["trainer.check_val_every_n_epoch"] = 3  # so that the best is not the first, whose average is itself
    result = train(config(tiny(**keys)), tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert not torch.equal(
        kept["state_dict"]["backbone.network.fc.weight"], kept["current_model_state"]["backbone.network.fc.weight"]
    )
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert result["best"]["epoch"] == 2
    assert result["val"]["loss"] == pytest.approx(float(rows[-1]["val/loss"]), abs=1e-6)
    assert result["best"]["val"]["loss"] == result["val"]["loss"]
    data = make_data(config(tiny(**keys)))
    data.setup()
    loader = data.test_dataloader()
    model = TransferClassifier.load_from_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt").eval()
    with torch.no_grad():
        parts = [(model(normalise(images)), labels) for images, labels in loader]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert result["best"]["test"]["loss"] == pytest.approx(expected, abs=1e-5)


def test_early_stopping_waits_for_its_patience(config, tiny, tmp_path):
    keys = {"regularisation.early_stopping": 2, "trainer.max_epochs": 30, "strategy.table.0.lr": 1e-12}
    result = train(config(tiny(**keys)), tmp_path / "run")  # nothing gets better at such a rate
    assert result["epochs"] == 3
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ema", 1.0, "regularisation.ema=1.0 must lie between 0 and 1"),
        ("early_stopping", 0, "regularisation.early_stopping=0 must be at least 1"),
        ("label_smoothing", 1.0, "regularisation.label_smoothing=1.0 must be at least 0 and below 1"),
        ("mixup", -1.0, "regularisation.mixup=-1.0 must be at least 1e-06"),
    ],
)
def test_bad_regularisation_is_refused(config, tiny, tmp_path, key, value, message):
    with pytest.raises(UserError, match=message):
        train(config(tiny(**{f"regularisation.{key}": value})), tmp_path / "run")

"""A run whose numbers are not finite ends where that shows, says so, and keeps what was good."""

import csv
import json
import math
import re

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, TensorDataset

from flowers_tl.config.schema import CONF
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.results.load_runs import find_runs
from flowers_tl.runs.registry import find_same
from flowers_tl.runs.resume import read_checkpoint
from flowers_tl.training import head_grid
from flowers_tl.training.callbacks import GroupCurves
from flowers_tl.training.divergence import Diverged, DivergenceCheck
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.training.run import train
from flowers_tl.training.run_once import train_once
from flowers_tl.utils.errors import UserError

SMALL = {"data.batch_size": 4, "optimizer": "sgd"}


def strictly(folder) -> dict:
    """A record, read as strict JSON."""

    def refuse(word):
        pytest.fail(f"{word} is no JSON")

    return json.loads((folder / "result.json").read_text(), parse_constant=refuse)


class Plant(Callback):
    """Spoil one kind of number in one step, and nothing else in that step."""

    def __init__(self, kind: str, step: int, value: float = math.inf) -> None:
        self.kind, self.step, self.value = kind, step, value

    def now(self, trainer: L.Trainer, kind: str) -> bool:
        return kind == self.kind and trainer.global_step + 1 == self.step

    def on_before_zero_grad(self, trainer, module, optimizer):  # after the forward pass
        if self.now(trainer, "BatchNorm statistics"):
            module.backbone.network.bn1.running_var.data[3] = self.value

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if self.now(trainer, "weights"):
            module.backbone.network.fc.weight.data[0, 0] = self.value
        if self.now(trainer, "gradients"):
            module.backbone.network.fc.bias.grad[1] = self.value


def spoil_loss(monkeypatch, at: int, value: float) -> None:
    """Let the loss of one step be ``value``, and its gradients what they are."""
    training_step = TransferClassifier.training_step

    def step(self, batch, batch_idx):
        loss = training_step(self, batch, batch_idx)
        return loss + value if self.trainer.global_step + 1 == at else loss

    monkeypatch.setattr(TransferClassifier, "training_step", step)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("loss", math.inf), ("gradients", math.inf), ("weights", -math.inf), ("BatchNorm statistics", math.nan)],
)
def test_the_first_step_is_named_and_what_was_good_stays(config, tiny, tmp_path, monkeypatch, kind, value):
    """In the second epoch a step is spoiled; infinite gradients that are clipped by value leave no other trace."""
    more = {"trainer.gradient_clip_val": 1.0, "trainer.gradient_clip_algorithm": "value", "trainer.max_epochs": 3}
    at, kept = 5, ("last", "best")
    # Without a validation it is found at the epoch's end alone, before the epoch is recorded.
    if kind == "loss":
        at, kept, more["data.protocol"] = 8, ("last",), "trainval"
        spoil_loss(monkeypatch, at, value)
    composed = config(tiny(strategy="from_scratch", **SMALL, **more))
    with pytest.raises(Diverged) as error:
        train(composed, tmp_path / "run", callbacks=[Plant(kind, at, value)])
    sentence, last = str(error.value), tmp_path / "run" / "checkpoints" / "last.ckpt"
    first = re.fullmatch(rf"The run diverged: (.*?) became NaN or infinite at step {at} in epoch 2, with .*", sentence)
    assert first[1].removeprefix("the ") == kind
    assert "with the learning rates " in sentence
    assert "head 0.001" in sentence
    assert f"the last good checkpoint is {last}" in sentence
    record = strictly(tmp_path / "run")
    assert (record["status"], record["error"]) == ("diverged", sentence)
    for name in kept:
        state = torch.load(last.with_stem(name), weights_only=True)
        assert state["epoch"] == 0
        assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
    with open(tmp_path / "run" / "history.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0"]


def test_a_run_that_goes_on_elsewhere_names_the_checkpoint_that_it_began_from(config, tiny, tmp_path):
    train(config(tiny(**SMALL)), tmp_path / "first")
    begun = tmp_path / "first" / "checkpoints" / "last.ckpt"
    more = {"trainer.max_epochs": 3, "ckpt_path": begun}
    with pytest.raises(Diverged, match=f"at step 7 in epoch 3.*good checkpoint is {begun}"):
        train(config(tiny(**SMALL, **more)), tmp_path / "second", ("trainer.max_epochs",), [Plant("gradients", 7)])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_sound_run_is_left_alone(config, tiny, tmp_path, accumulate):
    more = SMALL | {"trainer.accumulate_grad_batches": accumulate, "strategy.table.0.from_epoch": 1}
    assert train(config(tiny(strategy="fine_tuning", **more)), tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_loss_that_is_not_a_number_in_one_batch_is_not_left_out_of_the_mean(
    config, tiny, tmp_path, monkeypatch, split
):
    evaluate = TransferClassifier._evaluate

    def spoiled(self, batch, batch_idx, name):
        if name == split and batch_idx == 0 and (split == "test" or self.current_epoch == 1):
            batch = (batch[0] * math.nan, *batch[1:])
        return evaluate(self, batch, batch_idx, name)

    monkeypatch.setattr(TransferClassifier, "_evaluate", spoiled)
    with pytest.raises(Diverged, match=f"the {split} loss became NaN or infinite at step 6 in epoch 2"):
        train(config(tiny(**SMALL)), tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
    assert kept == (0 if split == "val" else 1)
    assert strictly(tmp_path / "run")["status"] == "diverged"


def fit_in_fp16(scale: float, *callbacks: Callback) -> TransferClassifier:
    """Three epochs of two steps under a gradient scaler that begins with ``scale``."""
    torch.manual_seed(0)
    table = [{"stage": "head", "lr": 0.01}]
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": table}, optimizer={"name": "sgd"})
    data = DataLoader(TensorDataset(torch.randn(8, 3, 32, 32), torch.arange(8) % 3), batch_size=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, backoff_factor=2.0**-60)
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[DivergenceCheck(CONF), *callbacks, FreezeCheck(), GroupCurves()],
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
    )  # fmt: skip
    trainer.fit(model, data, data)
    model.scale = scaler.get_scale()
    return model


def test_a_step_that_the_gradient_scaler_skips_is_no_divergence():
    """In the first epoch all steps are skipped, so nothing moves, which the proof takes for no fault."""
    with pytest.warns(UserWarning, match="fp16's gradient scaler skipped the last step of epoch 1"):
        assert fit_in_fp16(2.0**120).scale < 2.0**120
    with pytest.raises(Diverged, match="the weights became NaN or infinite at step 3"):
        fit_in_fp16(1.0, Plant("weights", 3))


class OneInfiniteGradient(Callback):
    """Of the head's bias alone, in each step of the first epoch."""

    def on_after_backward(self, trainer: L.Trainer, module: TransferClassifier) -> None:
        if trainer.current_epoch == 0:
            module.backbone.network.fc.bias.grad.fill_(math.inf)


def test_one_infinite_gradient_skips_the_step_of_all_weights():
    with pytest.warns(UserWarning, match="fp16's gradient scaler skipped the last step of epoch 1"):
        fit_in_fp16(1.0, OneInfiniteGradient())


@pytest.mark.parametrize("more", [{}, pytest.param({"trainer.devices": 2}, marks=pytest.mark.slow)])
def test_the_command_ends_with_exit_code_1_and_names_rates(run_command, tiny, tmp_path, more):
    words = {"strategy": "full_fine_tuning", "strategy.table.0.lr": 1e20, "trainer.max_epochs": 1, "data.batch_size": 4}
    process = run_command("train", *tiny(**words, **more), f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == 1
    (error,) = [line for line in process.stderr.splitlines() if line.startswith("Error: ")]
    assert error.startswith("Error: The run diverged: ")
    assert "at step 2 in epoch 1, with the learning rates head 1e+20, layer4 3.6e+19" in error
    assert "no epoch was finished, so there is no checkpoint" in error
    assert strictly(tmp_path / "run")["status"] == "diverged"
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.fixture
def diverging(config, tiny, tmp_path):
    """Make a run, once among all in ``tmp_path``, that diverges in its first step; or with other settings does not."""

    def run(name, **more):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        words = {"strategy.table.0.lr": 1e37, "runs": tmp_path} | SMALL | {"optimizer": "adam"} | more
        return train_once(config(tiny(**words)), folder)

    return run


def test_what_diverged_is_neither_run_again_nor_gone_on_with(diverging, config, tiny, tmp_path, monkeypatch):
    with pytest.raises(Diverged):
        diverging("first")
    with monkeypatch.context() as patched:
        patched.setattr("flowers_tl.training.run_once.train", lambda *a, **how: pytest.fail("run again"))
        with pytest.raises(UserError, match=rf"same run diverged before, in {tmp_path / 'first'} .*force=true"):
            diverging("second")
    assert "first" in (tmp_path / "second" / "elsewhere.json").read_text()
    with pytest.raises(UserError, match=r"1e\+37.*start a new run with lower"):
        train(config(tiny(**{"ckpt_path": "last", "runs": tmp_path})), spare(tmp_path / "first"), ())
    with pytest.raises(Diverged):
        diverging("third", force="true")
    # Nothing of it was kept, so its folder may be named again with other rates.
    assert diverging("third", **{"strategy.table.0.lr": 0.01})["status"] == "finished"


def spare(folder):
    """The folder, with a checkpoint in it as a run has that diverged later."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save({}, folder / "checkpoints" / "last.ckpt")
    return folder


def test_a_record_of_an_earlier_version_with_nan_is_one_of_divergence(diverging, tmp_path):
    good = diverging("first", **{"strategy.table.0.lr": 0.01})
    record = tmp_path / "first" / "result.json"
    for loss in (math.nan, math.inf):
        record.write_text(json.dumps(good | {"val": good["val"] | {"loss": loss}}))
        assert find_same(good["id"], [tmp_path]) == tmp_path / "first"
        with pytest.raises(UserError, match=f"diverged before.*its val loss is {loss}"):
            diverging("again", **{"strategy.table.0.lr": 0.01})


def test_one_head_of_many_may_diverge(config, tiny, tmp_path, capsys):
    more = SMALL | {"optimizer": "adam", "heads.lr": "[0.01,1e37,0.03]"}
    found = train(config(tiny(**more)), tmp_path / "heads")
    plain = train(config(tiny(**more | {"heads.lr": "[0.01,0.03]"})), tmp_path / "plain")
    assert found["status"] == "finished"
    assert found["best_head"] == plain["best_head"]
    bad = tmp_path / "heads" / "lr=1e+37,seed=0"
    record = strictly(bad)
    assert record["status"] == "diverged"
    assert "at step 1 in epoch 1, with the learning rates head 1e+37" in record["error"]
    assert {"val", "test"}.isdisjoint(record)
    assert not (bad / "head.pt").exists()
    for name in plain["heads"]:
        head, own = (torch.load(tmp_path / folder / name / "head.pt")["fc.weight"] for folder in ("heads", "plain"))
        torch.testing.assert_close(head, own, rtol=0, atol=1e-5)
        assert strictly(tmp_path / "heads" / name)["val"] == pytest.approx(
            strictly(tmp_path / "plain" / name)["val"], abs=1e-5
        )
    runs, notes = find_runs([tmp_path / "heads"])
    assert sorted(run.folder.name for run in runs) == sorted(plain["heads"])
    assert "lr=1e+37,seed=0 diverged and is left out of rows" in notes[0]
    assert "1e+37,seed=0 diverged" in capsys.readouterr().out


def test_heads_that_all_diverge_end_the_run(config, tiny, tmp_path, monkeypatch):
    evaluated = []
    monkeypatch.setattr(head_grid, "evaluate", lambda *a, own=head_grid.evaluate: evaluated.append(a[2]) or own(*a))
    more = SMALL | {"optimizer": "adam", "heads.lr": "[1e37,2e37]", "trainer.max_epochs": 50}
    with pytest.raises(Diverged, match="at step 1 in epoch 1"):
        train(config(tiny(**more)), tmp_path / "heads")
    assert evaluated == ["val"]
    assert strictly(tmp_path / "heads")["status"] == "diverged"
    assert {strictly(file.parent)["status"] for file in tmp_path.glob("heads/*/result.json")} == {"diverged"}


def test_a_trial_that_diverged_has_failed_and_is_not_the_best(tiny, tmp_path, capsys):
    pytest.importorskip("optuna")
    from flowers_tl.tuning.search import search

    words = tiny(**SMALL | {"optimizer": "adam", "strategy.table.0.lr": "0.01,1e37"})
    study = search(words, trials=2, folder=tmp_path / "search")
    assert {trial.user_attrs["chosen"][0]: trial.state.name for trial in study.trials} == {
        "strategy.table.0.lr=0.01": "COMPLETE",
        "strategy.table.0.lr=1e+37": "FAIL",
    }
    out, errors = capsys.readouterr()
    assert "The run diverged" in errors
    assert re.search(r"To train with the best settings: .*strategy\.table\.0\.lr=0\.01", out)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_spoiled_weights_are_refused_before_anything_is_solved(config, tiny, tmp_path, monkeypatch, value):
    state = TransferClassifier("resnet18", 3, {"name": "a", "table": [{"stage": "head", "lr": 1}]}).backbone.network
    state.layer1[0].bn1.running_mean[5] = value
    torch.save(state.state_dict(), tmp_path / "spoiled.pth")
    monkeypatch.setattr("flowers_tl.training.run.solve", lambda *a: pytest.fail("solved"))
    with pytest.raises(UserError, match=r"spoiled\.pth holds NaN or infinite numbers in layer1\.0\.bn1\.running_mean"):
        train(config(tiny(strategy="linear_probe", backbone__weights=tmp_path / "spoiled.pth")), tmp_path / "run")


def test_spoiled_checkpoints_are_refused(run_folder, tmp_path):
    content = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"]["backbone.network.fc.bias"][0] = math.nan
    torch.save(content, tmp_path / "last.ckpt")
    for read in (load_trained, read_checkpoint):
        with pytest.raises(UserError, match=r"last\.ckpt holds NaN or infinite numbers in backbone\.network\.fc\.bias"):
            read(tmp_path / "last.ckpt")

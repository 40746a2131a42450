"""Nothing that a run sets for its process stays set when the run is over."""

import logging
import subprocess
import sys
import warnings

import lightning as L
import pytest
import torch

from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.inference.evaluate import predict_splits
from flowers_tl.training.run import train
from flowers_tl.training.trainer import quiet_lightning
from flowers_tl.utils.errors import UserError

STATE = """
import logging, warnings, lightning.pytorch, torch
def state():
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")]
    return (
        [(logger.propagate, logger.level, list(logger.filters)) for logger in loggers],
        list(warnings.filters),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
"""
exec(STATE)


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """Each test begins as a process does in which nobody has set anything, whatever other tests have left set."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(False)


def test_importing_changes_nothing_for_the_process():
    code = f"{STATE}\nimport flowers_tl.training.callbacks\nbefore = state()\nimport flowers_tl.training.trainer\nassert state() == before"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("more", [{}, {"heads__lr": "[0.001,0.01]"}, {"trainer__max_epochs": 0}])
def test_a_run_leaves_all_as_it_was_also_when_it_fails(config, tiny, tmp_path, more):
    before = state()  # noqa: F821
    if "trainer__max_epochs" in more:
        with pytest.raises(UserError, match="max_epochs"):
            train(config(tiny(**more)), tmp_path / "run")
    else:
        train(config(tiny(**more)), tmp_path / "run")
    assert state() == before  # noqa: F821


def test_an_evaluation_leaves_all_as_it_was(run_folder):
    trained, before = load_trained(run_folder), state()  # noqa: F821
    predict_splits(trained, trained.config, ["test"])
    assert state() == before  # noqa: F821


def test_within_a_run_only_remarks_that_do_not_apply_are_left_out(caplog):
    tips = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with quiet_lightning(), warnings.catch_warnings(record=True) as shown:
        assert not torch.utils.deterministic.fill_uninitialized_memory
        warnings.warn("Found 3 module(s) in eval mode at the start of training", stacklevel=1)
        warnings.warn("The loss is odd", stacklevel=1)
        tips.addHandler(caplog.handler)
        tips.info("Tip: buy this")
        tips.info("GPU available")
        tips.removeHandler(caplog.handler)
    assert [str(warning.message) for warning in shown] == ["The loss is odd"]
    assert [record.getMessage() for record in caplog.records] == ["GPU available"]


def test_what_a_run_is_told_by_lightning_is_the_runs_alone(config, tiny, tmp_path, monkeypatch):
    seen, fit = [], L.Trainer.fit

    def looking(*arguments, **more):
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory))
        fit(*arguments, **more)

    monkeypatch.setattr(L.Trainer, "fit", looking)
    train(config(tiny()), tmp_path / "run")
    assert seen == [(True, False)]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_network_of_which_all_is_trained_may_be_of_another_precision(config, tiny, tmp_path, precision):
    # With rates whose steps bfloat16 does not round away.
    words = tiny(
        strategy="full_fine_tuning", backbone="squeezenet1_1", trainer__precision=precision, regularisation="mixup",
        data__balance="weights",
    )  # fmt: skip
    result = train(config([*words, "strategy.table=[{stage: all, lr: 0.01}]"]), tmp_path / "run")
    assert result["status"] == "finished"
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    kinds = {tensor.dtype for name, tensor in state.items() if name.startswith("backbone")}
    assert kinds == {torch.bfloat16 if precision == "bf16-true" else torch.float64}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.strategy=ddp_spawn", "trains in processes that write no record: use ddp"),
        (
            "trainer.precision=transformer-engine",
            "trainer.precision=transformer-engine can't be used .*transformer_engine",
        ),
    ],
)
def test_what_lightning_would_break_on_is_told(config, tiny, tmp_path, word, sentence):
    words = tiny(strategy="full_fine_tuning", backbone="squeezenet1_1")
    with pytest.raises(UserError, match=sentence):
        train(config([*words, word, "trainer.devices=2", "data.batch_size=4"]), tmp_path / "run")

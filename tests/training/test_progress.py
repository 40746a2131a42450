"""What a terminal shows of a run fits into 80 columns and fills wider ones; epochs count from 1."""

import re

import lightning as L
import pytest
import rich
import torch
from rich.console import Console
from torch.utils.data import DataLoader, TensorDataset

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.progress import EpochLines, ProgressBar


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes this process's console a terminal of some width."""

    def make(width: int) -> Console:
        console = Console(force_terminal=True, width=width, color_system=None, legacy_windows=False)
        # Lightning makes it anew with each bar.
        monkeypatch.setattr("lightning.pytorch.callbacks.progress.rich_progress.reconfigure", lambda **_: None)
        monkeypatch.setattr(rich, "_console", console)
        return console

    return make


def fit(callback: L.Callback, epochs: int = 2) -> None:
    torch.manual_seed(0)
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": [{"stage": "head", "lr": 1e-3}]})
    data = DataLoader(TensorDataset(torch.randn(6, 3, 32, 32), torch.arange(6) % 3), batch_size=3)
    bar = isinstance(callback, ProgressBar)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=bar, callbacks=[callback], num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data, data)
    for measured in ("val", "test"):
        callback.measured = measured
        trainer.test(model, data, verbose=False)


@pytest.mark.parametrize("width", [80, 130])
def test_a_bar_is_as_wide_as_the_terminal_and_names_loss_and_accuracy(terminal, capsys, width):
    terminal(width)
    fit(ProgressBar())
    printed = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out)
    lines = [part for line in printed.split("\n") for part in line.split("\r")]
    last = [line for line in lines if line.startswith("Epoch 2/2")][-1]
    assert "train/val loss: " in last
    assert "accuracy: " in last
    assert len(last.rstrip()) <= width
    assert last.count("━") > width - 75
    assert not any(line.startswith("Epoch 0") for line in lines)
    for name in ("val", "test"):
        shown = [line for line in lines if line.startswith(f"Measuring {name} ━")]
        assert width - 2 <= len(shown[-1]) <= width


def test_without_a_terminal_an_epoch_is_a_line(capsys):
    fit(EpochLines())
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Epoch 1/2: train/val loss ")
    assert second.startswith("Epoch 2/2: train/val loss ")
    assert ", accuracy " in first

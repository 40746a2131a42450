"""Files of weights are read whoever wrote them, and nothing in them is run."""

import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from flowers_tl.models.weights_file import read_file
from flowers_tl.utils.errors import UserError

STATE = {"a.weight": torch.eye(2), "a.bias": torch.ones(2)}


def save(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    return tmp_path / "file.pth"


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_ema", "teacher"])
def test_the_tensors_lie_under_the_keys_of_training_scripts(tmp_path, key):
    # As torchvision's, timm's and DINO's scripts write them, with their arguments.
    content = {key: STATE, "optimizer": {"state": {}}, "epoch": 3, "args": Namespace(lr=0.1)} if key else STATE
    state, found = read_file(save(content, tmp_path))
    assert found == key
    assert state.keys() == STATE.keys()
    assert torch.equal(state["a.weight"], STATE["a.weight"])


def test_averaged_weights_come_before_those_that_they_average(tmp_path):
    others = {name: 2 * value for name, value in STATE.items()}
    state, key = read_file(save({"model": others, "model_ema": STATE}, tmp_path))
    assert key == "model_ema"
    assert torch.equal(state["a.bias"], STATE["a.bias"])


def test_a_pickled_model_is_refused_and_the_sentence_says_how_to_save_it(tmp_path):
    with pytest.raises(UserError) as caught:
        read_file(save(nn.Linear(2, 2), tmp_path))
    assert str(caught.value) == (
        f"{tmp_path / 'file.pth'} can't be read as weights (it holds torch.nn.modules.linear.Linear, and running its code is "
        "not safe): use a state dict, saved by torch.save(model.state_dict(), FILE)."
    )


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(STATE, tmp_path / "file.safetensors")
    state, key = read_file(tmp_path / "file.safetensors")
    assert key is None
    assert torch.equal(state["a.weight"], STATE["a.weight"])
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"bad.safetensors can't be read as weights"):
        read_file(tmp_path / "bad.safetensors")


def test_without_the_library_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "file.safetensors").touch()
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"file.safetensors needs safetensors: pip install '\.\[export\]'"):
        read_file(tmp_path / "file.safetensors")

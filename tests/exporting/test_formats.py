"""Every network is written in every format, under torchvision's names, and needs no more packages than its format."""

import json
import re
import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from flowers_tl.config.backbones import FIRST
from flowers_tl.data import image_formats
from flowers_tl.exporting.formats import FORMATS, find_formats
from flowers_tl.exporting.verify import TOLERANCE, compare
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")


def living(name: str) -> nn.Module:
    """A random network of which the statistics fit its activations, so that its logits tell images apart."""
    torch.manual_seed(0)
    network = StagedNetwork(name, 5).network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        network(torch.randn(8, 3, 224, 224))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("name", FIRST)
def test_torchvision_takes_the_state_dict_of_every_network_strictly(name, tmp_path):
    from safetensors.torch import load_file

    own = StagedNetwork(name, 5).network
    for key, tensor in own.state_dict().items():
        tensor.fill_(7) if key.endswith("num_batches_tracked") else tensor.add_(1)
    own.to(memory_format=torch.channels_last)  # as predict leaves it
    FORMATS["safetensors"].write(own, 224, {"a": "b"}, tmp_path / "w.safetensors")
    theirs = get_model(name, num_classes=5)
    theirs.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, own.state_dict()[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_every_network_answers_alike_in_every_format_at_any_batch_size(name, tmp_path):
    network, inputs = living(name), torch.randn(3, 3, 224, 224)
    metadata = {"backbone": json.dumps(name), "arguments": "{}", "class_names": json.dumps(list("abcde"))}
    files = {}
    for one in FORMATS.values():
        one.write(network, 224, metadata, tmp_path / one.file)
        files[one.file] = one.read(tmp_path / one.file)
    assert network(inputs).std(dim=0).max() > 100 * TOLERANCE  # else any file would agree
    found = compare(network, files, [(["a", "b", "c"], inputs), (["d"], inputs[:1])])
    assert all(one.images == 4 and one.ties == 0 for one in found.values())


def test_only_packages_of_the_formats_asked_for_are_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert [one.file for one in find_formats(["torch", "torch"]).values()] == ["model.pt2"]
    for name, package in (("onnx", "onnxscript"), ("safetensors", "safetensors")):
        with pytest.raises(
            UserError, match=rf"formats={name} needs {package}: pip install '.\[export\]' in a checkout of the project"
        ):
            find_formats(["torch", name])


@pytest.mark.parametrize("name", FORMATS)
def test_the_code_on_the_card_opens_the_formats_of_the_program_but_for_heic(name):
    (listed,) = re.findall(r"formats=(\[.*?\])", FORMATS[name].usage)
    assert json.loads(listed) == [*image_formats.FORMATS, "AVIF"]

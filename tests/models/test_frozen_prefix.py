"""The frozen prefix ends where learning begins, and computes what the network would."""

import copy

import pytest
import torch

from flowers_tl.config.backbones import FIRST
from flowers_tl.data.transforms import normalise
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_prefix import FrozenPrefix, find_entry_stage, fingerprint_stages, fold_batchnorm
from flowers_tl.models.partial_run import Point

CPU = torch.device("cpu")
HEAD = {"stage": "head", "lr": 1e-3}


def stops(backbone: str, table: list, epochs: int = 1, **more) -> list[str | None]:
    with torch.device("meta"):
        model = TransferClassifier(backbone, 3, {"name": "some", "table": table, **more})
    return [find_entry_stage(model, epoch) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("backbone", "table", "expected"),
    [
        ("resnet18", [HEAD], "head"),
        ("resnet18", [HEAD, {"stage": -1, "lr": 1e-4}], "layer4"),
        ("resnet18", [HEAD, {"stage": "neck", "lr": 1e-4}], "head"),  # only pools: nothing in it can learn
        ("resnet18", [HEAD, {"stage": "layer2", "lr": 1e-4}], "layer2"),  # what is frozen behind it is no prefix
        ("resnet18", [HEAD, {"stage": ":head", "lr": 1e-3, "only": ["norm"]}], None),
        ("resnet18", [{"stage": "all", "lr": 1e-3}], None),
        ("mobilenet_v3_small", [HEAD, {"stage": "neck", "lr": 1e-4}], "neck"),
        ("vit_b_16", [HEAD, {"stage": -1, "lr": 1e-4}], "layer12"),
        ("squeezenet1_1", [HEAD], "head"),
        ("vit_b_16", [{"stage": "layer3", "lr": 1e-3, "only": ["bias"]}], "layer3"),
    ],
)
def test_it_ends_before_the_first_stage_that_learns(backbone, table, expected):
    assert stops(backbone, table) == [expected]


def test_it_follows_the_unfreezing():
    table = [HEAD, {"stage": "neck::-1", "lr": "x0.5", "from_epoch": 1, "every": 1}]
    assert stops("resnet18", table, 8) == ["head", "head", "layer4", "layer3", "layer2", "layer1", None, None]


def test_it_ends_before_the_first_batchnorm_that_follows_the_batches():
    assert stops("resnet18", [HEAD], frozen_batchnorm="train") == [None]
    assert stops("vit_b_16", [HEAD], frozen_batchnorm="train") == ["head"]


def test_nothing_learns_but_a_solved_head():
    assert stops("resnet18", [], head="solved") == ["head"]


@pytest.mark.parametrize("name", FIRST)
def test_it_computes_what_the_network_does(name):
    torch.manual_seed(0)
    backbone = StagedNetwork(name, 3)
    for module in backbone.modules():  # statistics as after training, not the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    images = torch.randint(0, 256, (9, 3, *[224 if name == "vit_b_16" else 64] * 2), dtype=torch.uint8)
    backbone.eval()
    for stop in backbone.stage_names[1:] if name != "vit_b_16" else ("layer2", "head"):
        with torch.no_grad():
            expected = backbone.run(normalise(images), stop=stop)
        scale = expected.abs().max()
        found = FrozenPrefix(backbone, stop, "fp32", CPU)(images)
        assert found.is_contiguous()
        assert (found - expected).abs().max() < 1e-5 * scale, stop
        rough = FrozenPrefix(backbone, stop, "bf16", CPU)(images)
        assert rough.dtype == torch.bfloat16
        assert 1e-5 * scale < (rough.float() - expected).abs().max() < 0.05 * scale, stop
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


class Awkward(torch.nn.Module):
    """Convolutions into which no BatchNorm may be folded, but for the last."""

    def __init__(self):
        super().__init__()
        self.taken_twice, self.shared, self.scaled, self.plain = (torch.nn.Conv2d(4, 4, 1) for _ in range(4))
        self.stem = torch.nn.Conv2d(3, 4, 1)
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(4) for _ in range(6))

    def forward(self, x):
        x = self.stem(x)
        y = self.taken_twice(x)
        x = self.norms[0](y) + y
        x = self.norms[1](self.shared(x)) + self.norms[2](self.shared(x * 2))
        x = self.norms[3](self.scaled(x) * 3)
        return self.norms[4](self.plain(x))


@torch.no_grad()
def test_a_batchnorm_is_folded_only_where_nothing_else_takes_what_enters_it():
    torch.manual_seed(0)
    network = torch.nn.Sequential(Awkward(), torch.nn.Identity()).eval()
    for norm in network[0].norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    folded, images = copy.deepcopy(network), torch.randn(2, 3, 8, 8)
    fold_batchnorm(folded, Point("1", 0, at_input=False, time=0, skipped=(), rows=1, side=8))
    assert torch.allclose(folded(images), network(images), rtol=1e-4, atol=1e-5)
    left = [isinstance(norm, torch.nn.BatchNorm2d) for norm in folded[0].norms]
    assert left == [True, True, True, True, False, True]


def test_the_batch_does_not_matter():
    torch.manual_seed(0)
    prefix = FrozenPrefix(StagedNetwork("mobilenet_v2", 3), "head", "fp32", CPU)
    images = torch.randint(0, 256, (32, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(prefix(images), torch.cat([prefix(part) for part in images.split(8)]))


def test_its_fingerprint_is_that_of_its_own_weights_and_statistics():
    torch.manual_seed(0)
    backbone = StagedNetwork("resnet18", 3)
    stages = backbone.stages[: backbone.stage_names.index("layer2")]
    first = fingerprint_stages(backbone, stages)
    assert fingerprint_stages(backbone, backbone.stages[:1]) != first
    torch.nn.init.zeros_(backbone.network.fc.weight)
    torch.nn.init.zeros_(backbone.network.layer2[0].bn1.weight)
    assert fingerprint_stages(backbone, stages) == first
    backbone.network.layer1[1].bn2.running_var[3] += 1e-3
    changed = fingerprint_stages(backbone, stages)
    assert changed != first
    with torch.no_grad():
        backbone.network.conv1.weight[0, 0, 0, 0] += 1e-3
    assert fingerprint_stages(backbone, stages) not in (first, changed)
    assert fingerprint_stages(
        StagedNetwork("resnet34", 3), StagedNetwork("resnet34", 3).stages[:1]
    ) != fingerprint_stages(backbone, backbone.stages[:1])

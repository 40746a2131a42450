"""An adapter begins as nothing, alone is trained, and can be added to the weights for good."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from flowers_tl.models.adapters import add_adapter, find_layers, merge_state, merged
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_prefix import FrozenPrefix, find_entry_stage, fingerprint_stages
from flowers_tl.models.pretrained import load_weights
from flowers_tl.models.strategy import Strategy
from flowers_tl.utils.errors import UserError

HEAD = {"stage": "head", "lr": 1e-2}
LORA = {"stage": ":head", "lr": 1e-2, "adapter": "lora", "rank": 4}
TIMM = pytest.mark.skipif(
    not find_spec("timm"), reason="needs timm: pip install '.[timm]' in a checkout of the project"
)


def make(backbone, *rows, image_size=224, **more):
    torch.manual_seed(0)
    table = [dict(row) for row in rows]
    return TransferClassifier(backbone, 3, {"name": "mine", "table": table, **more}, image_size=image_size)


def step(model, images):
    """Two steps: in the first B has a gradient, and A none yet."""
    optimizer = model.configure_optimizers()["optimizer"]
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(len(images)) % 3).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module", params=["resnet18", pytest.param("timm/test_vit", marks=TIMM)])
def trained(request):
    """A network and its logits before it had adapters and before its first step, and what a step made of it."""
    size = 64 if request.param == "resnet18" else 160
    images = torch.rand(4, 3, size, size)
    plain = make(request.param, HEAD, image_size=size).eval()
    model = make(request.param, HEAD, LORA, image_size=size).eval()
    begin = {name: tensor.clone() for name, tensor in model.backbone.network.state_dict().items()}
    first = plain(images).detach(), model(images).detach()
    return step(model, images), images, begin, first


def test_the_network_begins_as_it_was_without_adapters(trained):
    *_, (plain, adapted) = trained
    assert torch.equal(plain, adapted)


def test_only_the_adapters_and_the_head_are_trained(trained):
    model, _, begin, _ = trained
    now = model.backbone.network.state_dict()
    moved = {name for name, tensor in now.items() if not torch.equal(tensor, begin[name])}
    head = {name for name in now if model.backbone.stages[-1].owns(name)}
    assert moved == head | {name for name in now if name.endswith(("_lora_a", "_lora_b"))}
    assert sum(now[name].numel() for name in moved) == model.parameter_counts["trainable"]
    assert any("_lora_a" in name for name in moved)


def test_merged_weights_compute_the_same_under_plain_names(trained):
    model, images, begin, (first, _) = trained
    network = merged(model.backbone.network)
    assert network.state_dict().keys() == {name for name in begin if "_lora_" not in name}
    assert not any(hasattr(module, "plain") for module in network.modules())
    with torch.no_grad():
        logits, after = model(images), network(images)
    assert (logits - after).abs().max() < 1e-5 * logits.abs().max()
    assert not torch.allclose(logits, first, atol=1e-3)
    assert any("_lora_a" in name for name in model.backbone.network.state_dict()), "the original has been changed"
    assert merged(network) is network


def test_a_copy_has_adapters_of_its_own(trained):
    model, images, *_ = trained
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.backbone.network.named_parameters():
            if name.endswith("_lora_b"):
                parameter.zero_()
    assert not torch.allclose(other(images), model(images), atol=1e-4)


def test_pytorchs_own_attention_takes_the_sum():
    with torch.device("meta"):
        whole = make("vit_b_16", HEAD, LORA | {"rank": 8})
    counts = whole.parameter_counts
    assert counts["trainable"] < 0.01 * counts["total"]
    names = {name for group in whole.groups for name in group.parameters if "layer_0." in name}
    names = {name.split("layer_0.self_attention.")[1] for name in names}
    assert names == {f"{one}_weight_lora_{side}" for one in ("in_proj",) for side in "ab"} | {
        f"out_proj.weight_lora_{side}" for side in "ab"
    }
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    network, x = nn.ModuleDict({"attention": attention}), torch.rand(2, 3, 8)
    for _, module, weight, kind in list(find_layers(network)):
        assert kind == "attention"
        add_adapter(module, weight, 2, 1.0)
    before = attention(x, x, x, need_weights=False)[0]
    for name, parameter in attention.named_parameters():
        if name.endswith("_lora_b"):
            nn.init.normal_(parameter)
            after = attention(x, x, x, need_weights=False)[0]
            assert not torch.allclose(before, after), f"{name} has no effect"
            with torch.inference_mode():
                assert torch.allclose(attention(x, x, x, need_weights=False)[0], after, atol=1e-5)
            before = after


def test_kinds_of_layers():
    with torch.device("meta"):
        vit, mobile = (make(name, HEAD).backbone.network for name in ("vit_b_16", "mobilenet_v2"))
    kinds = {f"{name}.{weight}": kind for name, _, weight, kind in find_layers(vit)}
    layer = {key.split("layer_3.")[1]: kind for key, kind in kinds.items() if "layer_3." in key}
    assert layer == {
        "self_attention.in_proj_weight": "attention",
        "self_attention.out_proj.weight": "attention",
        "mlp.0.weight": "mlp",
        "mlp.3.weight": "mlp",
    }
    assert kinds["conv_proj.weight"] == "conv"
    assert "features.1.conv.0.0.weight" not in {f"{n}.{w}" for n, _, w, _ in find_layers(mobile)}, "a depthwise one"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([LORA | {"stage": "neck"}], "network has none there: name other stages"),
        ([LORA | {"stage": "head"}], "network has none there"),
        ([LORA | {"layers": ["attention"]}], "adapter for the attention layers of stage ':head'"),
        ([LORA | {"rank": 1000}], "rank=1000 for stage ':head', above the size of all its layers: use at most 512"),
        ([LORA, LORA | {"stage": -1}], "has two adapters for layer4.0.conv1"),
        ([LORA, {"stage": -1, "lr": 1e-3}], "has stage layer4 in two rows"),
        ([LORA | {"only": ["bias"]}], "gives stage :head `only`, which has no effect beside an adapter"),
        ([HEAD | {"rank": 4}], "gives stage head `rank`, which has no effect without an adapter"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(rows, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        make("resnet18", *rows)


def test_small_layers_get_an_update_of_their_own_size_and_alpha_counts():
    with torch.device("meta"):
        network = make("resnet18", LORA | {"stage": 0, "rank": 60, "alpha": 30}).backbone.network
    assert network.conv1.weight_lora_a.shape == (60, 147)
    with torch.device("meta"):
        network = make("resnet18", LORA | {"rank": 200}).backbone.network
    assert network.conv1.weight_lora_a.shape == (64, 147)
    network = make("resnet18", LORA | {"stage": 0, "alpha": 2.0}).backbone.network
    for factor in (network.conv1.weight_lora_a, network.conv1.weight_lora_b):
        nn.init.ones_(factor)
    plain = network.state_dict()["conv1.weight"]
    # Rank 4 of ones is 4, times alpha / rank.
    assert torch.allclose(network.conv1.weight - plain, torch.full_like(plain, 2.0))


def test_biases_may_be_trained_beside_an_adapter():
    model = make("resnet18", HEAD, LORA, {"stage": ":head", "lr": 1e-3, "only": ["bias", "weight"]})
    assert len(model.groups[2].parameters) == 20
    # The weights below an adapter stay frozen, and ResNet18's BatchNorms have no other.
    assert all(".bn" in n or "downsample.1" in n or n.startswith("bn1") for n in model.groups[2].parameters)


def test_pretrained_weights_are_read_before_and_a_lora_checkpoint_serves_as_weights(
    trained, tmp_path, resnet18_weights
):
    model, images, *_ = trained
    if model.backbone.name != "resnet18":
        pytest.skip("one network is enough")
    adapted = make("resnet18", HEAD, LORA)
    load_weights(adapted.backbone, str(resnet18_weights))
    theirs = torch.load(resnet18_weights, weights_only=True)
    assert torch.equal(adapted.backbone.network.state_dict()["layer2.0.conv1.weight"], theirs["layer2.0.conv1.weight"])
    torch.save({"state_dict": model.state_dict()}, tmp_path / "lora.ckpt")
    other = make("resnet18", HEAD)
    load_weights(other.backbone, str(tmp_path / "lora.ckpt"))
    with torch.no_grad():
        whole, again = (one.backbone.run(images, stop="head") for one in (model, other.eval()))
    assert torch.allclose(whole, again, rtol=1e-4, atol=1e-5)


def test_kept_features_before_an_adapter_begins_are_those_of_the_plain_network():
    late = make("resnet18", HEAD, LORA | {"from_epoch": 1})
    plain = make("resnet18", HEAD)
    assert [find_entry_stage(late, epoch) for epoch in (0, 1)] == ["head", None]
    stages = [one.backbone.stages[:-1] for one in (late, plain)]
    assert fingerprint_stages(late.backbone, stages[0]) == fingerprint_stages(plain.backbone, stages[1])
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    kept = [FrozenPrefix(one.backbone, "head", "fp32", torch.device("cpu"))(images) for one in (late, plain)]
    assert torch.equal(*kept)
    nn.init.ones_(late.backbone.network.layer1[0].conv1.weight_lora_b)
    assert fingerprint_stages(late.backbone, stages[0]) != fingerprint_stages(plain.backbone, stages[1])


def test_a_state_dict_without_adapters_stays_as_it_is():
    state = {"fc.weight": torch.ones(2, 2)}
    assert merge_state(state) == state


def test_a_table_with_an_adapter_survives_plain_python():
    strategy = Strategy.from_dict({"name": "mine", "table": [LORA]})
    assert strategy.table[0].kinds == ["lora"]

"""Tensors of other names reach their places in a network, or are told."""

import pytest
import torch

from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.tensor_names import TIMM_NAMES, fit_names, rename

# timm's names of one tensor of each kind, and torchvision's.
PAIRS = {
    "mobilenet_v2": {
        "conv_stem.weight": "features.0.0.weight",
        "bn1.running_var": "features.0.1.running_var",
        "blocks.0.0.conv_pw.weight": "features.1.conv.1.weight",
        "blocks.0.0.bn2.bias": "features.1.conv.2.bias",
        "blocks.1.1.conv_pw.weight": "features.3.conv.0.0.weight",
        "blocks.3.0.conv_dw.weight": "features.7.conv.1.0.weight",
        "blocks.6.0.conv_pwl.weight": "features.17.conv.2.weight",
        "blocks.5.2.bn3.running_mean": "features.16.conv.3.running_mean",
        "conv_head.weight": "features.18.0.weight",
        "classifier.bias": "classifier.1.bias",
    },
    "efficientnet_b0": {
        "blocks.0.0.conv_dw.weight": "features.1.0.block.0.0.weight",
        "blocks.0.0.se.conv_reduce.bias": "features.1.0.block.1.fc1.bias",
        "blocks.4.2.se.conv_expand.weight": "features.5.2.block.2.fc2.weight",
        "blocks.6.0.conv_pwl.weight": "features.7.0.block.3.0.weight",
        "bn2.num_batches_tracked": "features.8.1.num_batches_tracked",
    },
    "convnext_tiny": {
        "stem.1.bias": "features.0.1.bias",
        "stages.2.downsample.1.weight": "features.4.1.weight",
        "stages.2.blocks.8.gamma": "features.5.8.layer_scale",
        "stages.3.blocks.0.mlp.fc2.weight": "features.7.0.block.5.weight",
        "head.norm.weight": "classifier.0.weight",
        "head.fc.weight": "classifier.2.weight",
    },
    "vit_b_16": {
        "cls_token": "class_token",
        "pos_embed": "encoder.pos_embedding",
        "patch_embed.proj.bias": "conv_proj.bias",
        "blocks.11.attn.qkv.weight": "encoder.layers.encoder_layer_11.self_attention.in_proj_weight",
        "blocks.0.attn.proj.bias": "encoder.layers.encoder_layer_0.self_attention.out_proj.bias",
        "blocks.3.mlp.fc1.weight": "encoder.layers.encoder_layer_3.mlp.0.weight",
        "norm.weight": "encoder.ln.weight",
        "head.weight": "heads.head.weight",
    },
}


@pytest.mark.parametrize("network", TIMM_NAMES)
def test_timms_names_are_those_of_the_same_layers(network):
    for timm, ours in PAIRS[network].items():
        assert rename(network, timm) == ours
        # Our own names stay.
        assert rename(network, ours) == ours


@pytest.mark.parametrize("network", TIMM_NAMES)
def test_each_tensor_of_the_network_has_just_one_name_of_timms(network):
    with torch.device("meta"):
        known = StagedNetwork(network, 2).network.state_dict()
    modules = {name.replace("in_proj_", "in_proj.").rpartition(".")[0] for name in known}
    whole = {"class_token", "encoder.pos_embedding", *(name for name in known if name.endswith("layer_scale"))}
    named = [*TIMM_NAMES[network].values()]
    assert len(set(named)) == len(named)
    assert set(named) == {name for name in modules if f"{name}.weight" in known or name.endswith("in_proj")} | {
        name for name in known if name in whole
    }


KNOWN = {"conv1.weight": torch.zeros(2, 3), "layer1.0.weight": torch.zeros(2), "fc.weight": torch.zeros(4, 2)}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "backbone.", "encoder.", "_orig_mod.", "module.backbone.", "_orig_mod.module.encoder_q."],
)
def test_a_prefix_is_taken_off_and_told(prefix):
    fitted, told = fit_names({prefix + name: value for name, value in KNOWN.items()}, "resnet18", KNOWN)
    assert fitted.keys() == KNOWN.keys()
    assert told == ([f"without the prefix {prefix}"] if prefix else [])


def test_what_lies_beside_the_prefix_is_left_and_told():
    state = {"backbone." + name: value for name, value in KNOWN.items()}
    fitted, told = fit_names(state | {"head.mlp.0.weight": torch.zeros(1)}, "resnet18", KNOWN)
    assert fitted.keys() == KNOWN.keys()
    assert told == ["without the prefix backbone.", "without head.mlp.0.weight"]


def test_a_prefix_that_is_a_part_of_the_networks_own_names_stays():
    known = {
        "encoder.ln.weight": torch.zeros(2),
        "encoder.layers.0.weight": torch.zeros(2),
        "conv_proj.weight": torch.zeros(2),
    }
    assert fit_names(known, "vit_b_16", known) == (known, [])


def test_a_checkpoint_of_this_project_needs_no_word():
    state = {"backbone.network." + name: value for name, value in KNOWN.items()} | {"losses.seen": torch.zeros(1)}
    assert fit_names(state, "resnet18", KNOWN)[1] == []


def test_timms_layer_scale_gets_torchvisions_axes_and_half_precision_is_told():
    known = {"features.1.0.layer_scale": torch.zeros(96, 1, 1)}
    fitted, told = fit_names({"module.stages.0.blocks.0.gamma": torch.ones(96).half()}, "convnext_tiny", known)
    assert fitted["features.1.0.layer_scale"].shape == (96, 1, 1)
    assert told == ["without the prefix module.", "renamed from timm's names", "converted from float16"]

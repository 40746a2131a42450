"""Every classification network of torchvision is cut by one rule; unlike ones keep what is promised of the first."""

import pytest
import torch
from torchvision.models import get_model

from flowers_tl.config.backbones import FIRST
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_prefix import FrozenPrefix
from flowers_tl.models.pretrained import load_weights
from flowers_tl.models.tensor_names import rename_old
from flowers_tl.models.torchvision_networks import cut_network
from flowers_tl.utils.errors import UserError

# About the smallest of each family, and with which modules its stem and feature stages end. Entries of kept outputs have no
# other name for where their stages end, if the networks are of the FIRST.
ENDS = {
    "resnet18": "maxpool layer1 layer2 layer3 layer4",
    "mobilenet_v2": "features.1 features.3 features.6 features.13 features.18",
    "mobilenet_v3_small": "features.0 features.1 features.3 features.8 features.12",
    "mobilenet_v3_large": "features.1 features.3 features.6 features.12 features.16",
    "efficientnet_b0": "features.1 features.2 features.3 features.5 features.8",
    "convnext_tiny": "features.0 features.1 features.3 features.5 features.7",
    "squeezenet1_1": "features.1 features.4 features.7 features.12",
    "alexnet": "features.2 features.4 features.11",
    "densenet121": "features.pool0 features.denseblock1 features.denseblock2 features.denseblock3 features.norm5",
    "efficientnet_v2_s": "features.1 features.2 features.3 features.5 features.7",
    "googlenet": "conv1 conv3 inception3b inception4e inception5b",
    "inception_v3": "Conv2d_2b_3x3 Conv2d_4a_3x3 Mixed_5d Mixed_6e Mixed_7c",
    "maxvit_t": "stem blocks.0 blocks.1 blocks.2 blocks.3",
    "mnasnet0_5": "layers.7 layers.8 layers.9 layers.11 layers.16",
    "regnet_x_400mf": "stem trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output.block4",
    "shufflenet_v2_x0_5": "maxpool stage2 stage3 conv5",
    "swin_t": "features.0 features.1 features.3 features.5 permute",
    "swin_v2_t": "features.0 features.1 features.3 features.5 permute",
    "vgg11_bn": "features.6 features.13 features.20 features.27",
}
# Those that are not among the FIRST, which other tests have, with the side of their images; large ones take long.
SIDES = {name: 64 for name in ENDS if name not in FIRST} | {"inception_v3": 96, "maxvit_t": 224}
SLOW = ("vgg11_bn", "maxvit_t", "swin_v2_t", "efficientnet_v2_s", "inception_v3", "densenet121")


@pytest.mark.parametrize("name", ENDS)
def test_stages_end_where_they_did(name):
    # What torchvision's networks are for images of another size does not change their stages.
    assert [point.module for point in cut_network(name, 224).points[:-1]] == ENDS[name].split()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SIDES])
def test_unlike_networks_keep_what_is_promised(name):
    torch.manual_seed(0)
    side = SIDES[name]
    backbone = StagedNetwork(name, 7, side).eval()
    assert backbone.stage_names[0 :: len(backbone.stages) - 1] == ("stem", "head")
    for module in backbone.modules():  # statistics as after training, not the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.5)
    pixels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    x = backbone.normalise(pixels)
    with torch.no_grad():
        expected = backbone(x)
        assert expected.shape == (2, 7)
        features = backbone.run(x, stop="head")
        assert torch.equal(backbone.run(features.clone(), start="head"), expected)
        middle = backbone.stage_names[2]
        assert torch.equal(backbone.run(backbone.run(x, stop=middle), start=middle), expected)
        found = FrozenPrefix(backbone, "head", "fp32", torch.device("cpu"))(pixels)
    assert (found - features).abs().max() <= 1e-4 * features.abs().max()
    owners = [[stage.name for stage in backbone.stages if stage.owns(key)] for key in backbone.network.state_dict()]
    assert {len(names) for names in owners} == {1}
    final = backbone.network.get_submodule(backbone.final)
    assert [*backbone.parameters_of(backbone.stages[-1])] == [*final.parameters()]
    # An exported state dict is torchvision's.
    get_model(name, num_classes=7, **backbone.arguments).load_state_dict(backbone.network.state_dict())


def test_classifiers_in_the_middle_are_left_out_and_images_are_as_their_weights_need(tmp_path):
    source = get_model("googlenet", init_weights=False).eval()
    source.aux_logits, source.transform_input = False, True
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    backbone = StagedNetwork("googlenet", 1000).eval()
    load_weights(backbone, str(tmp_path / "weights.pth"))
    backbone.network.fc.load_state_dict(source.fc.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(x), source(x))


def test_old_names_in_torchvisions_files_are_read():
    assert rename_old("features.denseblock1.denselayer12.norm.1.weight") == (
        "features.denseblock1.denselayer12.norm1.weight"
    )
    assert rename_old("encoder.layers.encoder_layer_3.mlp.linear_2.bias") == "encoder.layers.encoder_layer_3.mlp.3.bias"
    with torch.device("meta"):
        for name in ("densenet121", "vit_b_16"):
            assert all(rename_old(key) == key for key in StagedNetwork(name, 3).network.state_dict())


def test_a_regnet_has_no_numbers_on_meta():
    with torch.device("meta"):
        backbone = StagedNetwork("regnet_x_400mf", 3)
    assert all(parameter.is_meta for parameter in backbone.parameters())


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"data\.image_size=100 does not fit maxvit_t"):
        StagedNetwork("maxvit_t", 3, 100)

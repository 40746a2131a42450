"""The row of stages is the network: it computes the same, and owns every tensor exactly once."""

import pytest
import torch

from flowers_tl.config.backbones import FIRST
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError


@pytest.fixture(scope="module", params=FIRST)
def backbone(request):
    torch.manual_seed(0)
    return StagedNetwork(request.param, 7).eval()


def images(backbone: StagedNetwork, side: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, *(2 * [224 if backbone.name == "vit_b_16" else side]))


@torch.no_grad()
def test_stages_in_a_row_equal_forward(backbone):
    x = images(backbone)
    expected = backbone.network(x)
    assert expected.shape == (2, 7)
    assert torch.equal(backbone(x), expected)
    assert torch.equal(backbone.run(x), expected)
    for cut in backbone.stage_names[1:]:
        assert torch.equal(backbone.run(backbone.run(x, stop=cut), start=cut), expected)


def test_every_tensor_belongs_to_one_stage(backbone):
    owners = {
        key: [stage.name for stage in backbone.stages if stage.owns(key)] for key in backbone.network.state_dict()
    }
    assert {key: names for key, names in owners.items() if len(names) != 1} == {}
    assert sum(p.numel() for stage in backbone.stages for p in backbone.parameters_of(stage)) == sum(
        p.numel() for p in backbone.parameters()
    )


@torch.no_grad()
def test_a_feature_stage_works_at_one_resolution(backbone):
    if backbone.name == "vit_b_16":
        assert len(backbone.feature_stage_names) == 13
        return
    sides, x = {}, images(backbone, side=224)
    for stage in backbone.stages:
        hooks, seen = [], set()
        for module in backbone.modules_of(stage):
            if isinstance(module, torch.nn.ReLU | torch.nn.ReLU6 | torch.nn.Hardswish | torch.nn.GELU | torch.nn.SiLU):
                hooks.append(module.register_forward_hook(lambda m, i, o, seen=seen: seen.add(tuple(o.shape[-2:]))))
        x = stage.run(backbone.network, x)
        sides[stage.name] = x.shape[-1]
        for hook in hooks:
            hook.remove()
    features = [sides[name] for name in backbone.feature_stage_names]
    assert features == sorted(features, reverse=True)
    behind_stem = features[1:]
    assert len(set(behind_stem)) == len(behind_stem), "two feature stages share a resolution"


def test_head_is_the_new_final_layer(backbone):
    head = backbone.stages[-1]
    assert head.name == "head"
    final = backbone.network.get_submodule(backbone.final)
    assert [p.shape for p in backbone.parameters_of(head)] == [p.shape for p in final.parameters()]
    assert final.weight.shape[0] == 7


def test_last_feature_stage_has_parameters(backbone):
    last = {stage.name: stage for stage in backbone.stages}[backbone.feature_stage_names[-1]]
    assert sum(p.numel() for p in backbone.parameters_of(last)) > 0


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large", "convnext_tiny"])
def test_pretrained_layers_before_the_head_are_the_neck(name):
    backbone = StagedNetwork(name, 7)
    neck = next(stage for stage in backbone.stages if stage.name == "neck")
    assert {n for n in backbone.network.state_dict() if neck.owns(n)} == {"classifier.0.weight", "classifier.0.bias"}


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no backbone 'resnet81': did you mean 'resnet18'"):
        StagedNetwork("resnet81", 7)


def test_a_vit_takes_images_of_the_size_that_it_is_built_for():
    with torch.device("meta"):
        backbone = StagedNetwork("vit_b_16", 3, image_size=96)
        assert backbone(torch.empty(2, 3, 96, 96)).shape == (2, 3)
    assert backbone.network.encoder.pos_embedding.shape == (1, 6 * 6 + 1, 768)
    with pytest.raises(
        UserError, match=r"data\.image_size=100 does not fit vit_b_16 \(it is no multiple of its patches\)"
    ):
        StagedNetwork("vit_b_16", 3, image_size=100)

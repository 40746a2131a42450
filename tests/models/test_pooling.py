"""The outputs of all stages as features of one head."""

import pytest
import torch

from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_prefix import FrozenPrefix
from flowers_tl.models.pooling import StageLinear, find_places, find_scale, pool


def test_places_are_averaged_in_whichever_order_the_dimensions_come():
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    tokens = torch.rand(2, 5, 3)
    for values, expected in (
        (x, x.mean((2, 3))),
        (x.permute(0, 2, 3, 1), x.mean((2, 3))),
        (tokens, tokens.mean(1)),
        (tokens[:, 0], tokens[:, 0]),
    ):
        assert torch.equal(pool(values, find_places(values.shape)), expected)


def side_probe(name: str, head_from: list) -> StagedNetwork:
    torch.manual_seed(0)
    strategy = {"name": "side", "table": [], "head": "solved", "head_from": head_from}
    return TransferClassifier(name, 4, strategy, image_size=64).backbone.eval()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "convnext_tiny"])
def test_all_features_enter_a_head_that_takes_those_of_its_stages(name):
    backbone = side_probe(name, ["stem", "neck"])
    pixels = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    x, parts = backbone.normalise(pixels), []
    with torch.no_grad():
        for stage in backbone.stages[:-1]:
            x = stage.run(backbone.network, x)
            parts.append(pool(x, find_places(x.shape)))
        features = torch.cat(parts, 1)
        final = backbone.network.get_submodule(backbone.final)
        chosen = torch.cat([parts[0], parts[-1]], 1)
        expected = chosen @ final.weight.T + final.bias
        torch.testing.assert_close(backbone.run(backbone.normalise(pixels), stop="head"), features)
        torch.testing.assert_close(backbone(backbone.normalise(pixels)), expected)
        # The frozen prefix as it is kept, and a run in two parts.
        kept = FrozenPrefix(backbone, "head", "fp32", torch.device("cpu"))(pixels)
        torch.testing.assert_close(kept, features, rtol=1e-4, atol=1e-4)
        middle = backbone.stage_names[2]
        begun = backbone.run(backbone.normalise(pixels), stop=middle)
        torch.testing.assert_close(backbone.run(begun, start=middle), expected)
    assert final.weight.shape == (4, chosen.shape[1])


def test_a_feature_that_never_changes_has_no_weight_and_others_the_same_variance():
    torch.manual_seed(0)
    features = torch.randn(50, 6) * torch.tensor([1e-3, 10.0, 0.0, 4.0, 2.0, 1.0]) + 7
    centre, scale = find_scale(features)
    assert scale[2] == 0
    spread = ((features - centre) * scale).std(0, unbiased=False)
    torch.testing.assert_close(spread, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]), rtol=1e-3, atol=1e-3)
    layer = StageLinear({"stem": 3, "neck": 3}, ["stem", "neck"], 2)
    scaled = (features * layer.scale(features)).var(0, unbiased=False)
    expected = features[:, 3:].var(0, unbiased=False).mean()
    torch.testing.assert_close(scaled[[0, 1, 3, 4, 5]], expected.expand(5), rtol=1e-3, atol=1e-3)

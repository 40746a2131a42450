"""A stack of heads computes what each head alone would."""

import pytest
import torch

from flowers_tl.config.backbones import FIRST
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.head_stack import HeadStack


@pytest.mark.parametrize("name", [name for name in FIRST if name != "vit_b_16"])
def test_the_stack_computes_each_backbones_head(name):
    torch.manual_seed(0)
    backbone = StagedNetwork(name, 5).eval()
    final = backbone.network.get_submodule(backbone.final)
    with torch.no_grad():
        features = backbone.run(torch.randn(6, 3, 64, 64), stop="head").unflatten(0, (2, 3))
    states = [{key: torch.randn_like(value) for key, value in final.state_dict().items()} for _ in range(4)]
    logits = HeadStack(backbone, states, columns=2, device=torch.device("cpu")).logits(features)
    for number, state in enumerate(states):
        final.load_state_dict(state)
        own = backbone.run(features[number // 2], start="head")
        torch.testing.assert_close(logits[number], own, rtol=1e-5, atol=1e-5 * own.abs().max().item())

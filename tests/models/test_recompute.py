"""Gradient checkpointing: the same bits with less memory, and nothing moves twice."""

import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.recompute import activation_bytes, run_recomputed
from flowers_tl.training.run import train
from flowers_tl.training.validate import validate_config
from flowers_tl.utils.errors import UserError


def network(backbone: str, stage: str = "all") -> TransferClassifier:
    torch.manual_seed(0)
    return TransferClassifier(backbone, 3, {"name": "a", "table": [{"stage": stage, "lr": 1e-2}]}, image_size=32)


def steps(model: TransferClassifier, count: int = 2) -> tuple[dict, int]:
    """Weights and buffers after steps in train mode, and the most bytes of activations that were kept at a time."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    weights, held = {p.data_ptr() for p in model.parameters()}, 0
    for step in range(count):
        torch.manual_seed(step)
        known = set(weights)
        held = 0

        def pack(tensor, known=known):
            nonlocal held
            storage = tensor.untyped_storage()
            held += 0 if storage.data_ptr() in known else storage.nbytes()
            known.add(storage.data_ptr())
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict(), held


# BatchNorm; dropout and BatchNorm; stochastic depth, and a head whose dropout works in place; LayerNorm and raw parameters; a frozen prefix.
@pytest.mark.parametrize(
    ("backbone", "stage"),
    [("resnet18", "all"), ("mobilenet_v2", "all"), ("efficientnet_b0", "all"), ("vit_b_16", "all"), ("resnet18", "3:")],
)
def test_weights_and_statistics_are_the_same_bits_and_less_is_kept(backbone, stage):
    plain = network(backbone, stage)
    thrifty = copy.deepcopy(plain)
    thrifty.backbone.recompute = run_recomputed
    (expected, held), (found, less) = steps(plain), steps(thrifty)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert less < held / 2


def test_a_copy_with_other_weights_runs_its_own():
    """As the moving average of the weights is."""
    model = network("resnet18")
    model.backbone.recompute = run_recomputed
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.backbone.network.fc.bias += 1
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(other.eval()(images), model.eval()(images) + 1, atol=1e-5)


def test_the_estimate_without_memory_is_what_autograd_keeps():
    model = network("resnet18").train()
    (_, held), (plain, least) = steps(model, 1), activation_bytes(model.backbone, torch.randn(4, 3, 32, 32))
    with torch.device("meta"):
        meta = network("resnet18").train()
    assert activation_bytes(meta.backbone, torch.empty(4, 3, 32, 32, device="meta")) == (plain, least)
    assert plain == pytest.approx(held, rel=0.02)
    assert least < 0.7 * plain


def test_a_run_has_the_same_id_scores_and_weights(tiny, config, tmp_path):
    keys = {"strategy": "from_scratch", "backbone": "mobilenet_v2"}
    results = [
        train(config(tiny(**keys, compute__gradient_checkpointing=on)), tmp_path / str(on)) for on in ("false", "true")
    ]
    assert results[0]["id"] == results[1]["id"]
    assert [results[0][split] for split in ("val", "test")] == [results[1][split] for split in ("val", "test")]
    states = [
        torch.load(tmp_path / on / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for on in ("false", "true")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_where_nothing_is_saved_it_is_refused(tiny, config):
    on = {"compute__gradient_checkpointing": "true"}
    for strategy in ("feature_extraction", "linear_probe"):
        with pytest.raises(UserError, match=f"would save no memory with strategy={strategy}"):
            validate_config(config(tiny(strategy=strategy, **on)))
    validate_config(config(tiny(strategy="full_fine_tuning", **on)))
    with pytest.raises(UserError, match=r"does not work with compute.compile=true"):
        validate_config(config(tiny(strategy="full_fine_tuning", compute__compile="true", **on)))

"""Optimizers, schedules and mixing are what their names say, for every group of the table."""

import pytest
import torch
from torch import nn

from flowers_tl.models.optim import make_mixing, make_optimizer, make_schedule
from flowers_tl.models.strategy import ParameterGroup
from flowers_tl.utils.errors import UserError


def groups(*rates, **more):
    return [
        (ParameterGroup(f"g{k}", (f"g{k}",), (f"g{k}.w",), lr, 0, more.get("decay")), [nn.Parameter(torch.ones(2))])
        for k, lr in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ({"name": "adam", "weight_decay": 0.0, "betas": None}, torch.optim.Adam),
        ({"name": "adamw", "weight_decay": 0.01, "betas": [0.8, 0.9]}, torch.optim.AdamW),
        ({"name": "sgd", "weight_decay": 0.0, "momentum": 0.9, "nesterov": True}, torch.optim.SGD),
    ],
)
def test_an_optimizer_has_the_tables_rates_and_its_own_keys(chosen, kind):
    optimizer = make_optimizer(groups(1e-4, 1e-3), chosen)
    assert type(optimizer) is kind
    assert [(g["name"], g["lr"]) for g in optimizer.param_groups] == [("g0", 1e-4), ("g1", 1e-3)]
    for key, value in chosen.items():
        if key != "name" and value is not None:
            found = optimizer.param_groups[0][key]
            assert (list(found) if key == "betas" else found) == value


def test_a_rows_weight_decay_wins():
    optimizer = make_optimizer(groups(1e-3, decay=0.5) + groups(1e-3), {"name": "adamw", "weight_decay": 0.01})
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.01]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"name": "adam", "momentum": 0.9}, r"optimizer.momentum=0.9 has no effect with adam"),
        ({"name": "sgd", "momentum": -1.0}, r"sgd does not accept .*Invalid momentum"),
        ({"name": "adam", "weight_decay": -1.0}, r"adam does not accept .*Invalid weight_decay"),
    ],
)
def test_a_bad_optimizer_is_refused(chosen, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(groups(1e-3), chosen)


def rates(chosen, steps, per_epoch):
    """Rates of both groups at each step, and after the last."""
    optimizer = make_optimizer(groups(1.0, 0.1), {"name": "sgd"})
    schedule = make_schedule(optimizer, chosen, steps, per_epoch)
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return torch.tensor(found)


def test_cosine_rises_over_the_warm_up_and_falls_to_the_end():
    found = rates({"name": "cosine", "warmup_epochs": 1, "final": 0.1}, steps=50, per_epoch=10)
    assert torch.allclose(found[:, 1], found[:, 0] / 10)
    assert found[:10, 0].tolist() == pytest.approx([(k + 1) / 11 for k in range(10)])
    assert found[10, 0] == pytest.approx(1.0)
    assert found[30, 0] == pytest.approx(0.55)  # halfway down
    assert (found[10:, 0].diff() < 0).all()
    assert 0.1 < found[-1, 0] < 0.11


def test_onecycle_peaks_at_the_tables_rates():
    found = rates({"name": "onecycle", "pct_start": 0.25}, steps=41, per_epoch=10)
    assert found.max(0).values.tolist() == pytest.approx([1.0, 0.1], rel=1e-2)
    assert found[:, 0].argmax() in (9, 10)
    assert found[-1, 0] < 1e-3


def test_constant_stays():
    assert (rates({"name": "constant"}, steps=5, per_epoch=5) == torch.tensor([1.0, 0.1])).all()


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match="warmup_epochs=7 is longer than the run"):
        rates({"name": "cosine", "warmup_epochs": 7}, steps=20, per_epoch=5)


def test_a_schedule_needs_an_end():
    with pytest.raises(UserError, match="needs a known end of the run"):
        make_schedule(make_optimizer(groups(1.0), {"name": "sgd"}), {"name": "cosine"}, float("inf"), 5)


@pytest.mark.parametrize("chosen", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}])
def test_mixed_labels_are_the_shares_of_the_mixed_images(chosen):
    torch.manual_seed(0)
    mixing = make_mixing(chosen, num_classes=4)
    labels = torch.arange(4)
    images = labels.view(4, 1, 1, 1).double().expand(4, 3, 16, 16)  # an image shows its label
    for _ in range(8):
        mixed, shares = mixing(images, labels)
        assert shares.shape == (4, 4)
        assert torch.allclose(shares.sum(1), torch.ones(4))
        assert torch.allclose(mixed.mean((1, 2, 3)), (shares.double() * labels).sum(1), atol=1e-5)


def test_without_mixing_there_is_none():
    assert make_mixing({"mixup": None, "cutmix": None}, 4) is None

"""Frozen means frozen, the counts are the article's, and the scores are what they are called."""

import itertools

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.utils.errors import UserError

TABLES = {
    "feature_extraction": [{"stage": "head", "lr": 1e-3}],
    "fine_tuning": [{"stage": -1, "lr": 1e-4}, {"stage": "head", "lr": 1e-3}],
    "from_scratch": [{"stage": "all", "lr": 1e-3}],
}


def make(backbone="mobilenet_v3_small", name="fine_tuning", num_classes=3, **more) -> TransferClassifier:
    torch.manual_seed(0)
    return TransferClassifier(backbone, num_classes, {"name": name, "table": TABLES[name], **more})


def fit(model, epochs=2, **arguments):
    torch.manual_seed(1)
    data = DataLoader(TensorDataset(torch.randn(12, 3, 32, 32), torch.arange(12) % 3), batch_size=4)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **arguments,
    )  # fmt: skip
    trainer.fit(model, data, data)
    return trainer


def snapshot(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.backbone.network.state_dict().items()}


@pytest.mark.parametrize(
    ("backbone", "name", "trainable", "total"),
    [
        ("resnet18", "feature_extraction", 52_326, 11_228_838),
        ("resnet18", "fine_tuning", 8_446_054, 11_228_838),
        ("mobilenet_v2", "feature_extraction", 130_662, 2_354_534),
        ("mobilenet_v2", "fine_tuning", 1_812_006, 2_354_534),
        ("resnet18", "from_scratch", 11_228_838, 11_228_838),
    ],
)
def test_parameter_counts(backbone, name, trainable, total):
    model = make(backbone, name, num_classes=102)
    assert model.parameter_counts == {"total": total, "trainable": trainable}
    assert sum(row[2] for row in model.stage_rows()) == trainable


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18", "convnext_tiny"])
@pytest.mark.parametrize("name", ["feature_extraction", "fine_tuning"])
def test_frozen_tensors_do_not_change_by_a_bit(backbone, name):
    model = make(backbone, name)
    before = snapshot(model)
    fit(model, epochs=1)
    moved = {key for key, value in snapshot(model).items() if not torch.equal(before[key], value)}
    learning = [stage for stage in model.backbone.stages if stage.name in model.trainable_stages]
    outside = {key for key in moved if not any(stage.owns(key) for stage in learning)}
    assert outside == set()
    expected = {key for key, _ in model.backbone.network.named_parameters() if any(s.owns(key) for s in learning)}
    assert expected <= moved, "a learning parameter did not move"


def test_batchnorm_of_a_learning_stage_updates_its_statistics():
    model = make("resnet18")
    before = snapshot(model)
    fit(model, epochs=1)
    assert not torch.equal(before["layer4.1.bn2.running_mean"], model.backbone.network.layer4[1].bn2.running_mean)


def test_notebook_batchnorm_follows_the_batches_and_nothing_else_moves():
    model = make("resnet18", "feature_extraction", frozen_batchnorm="train")
    before = snapshot(model)
    fit(model, epochs=1)
    moved = {key for key, value in snapshot(model).items() if not torch.equal(before[key], value)}
    statistics = {
        key for key in before if key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert moved == statistics | {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("frozen_batchnorm", ["eval", "train"])
def test_modes_hold_whoever_calls_train(frozen_batchnorm):
    model = make("efficientnet_b0", "feature_extraction", frozen_batchnorm=frozen_batchnorm)
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()
    in_train = {
        type(m).__name__ for s in model.backbone.stages[:-1] for m in model.backbone.modules_of(s) if m.training
    }
    assert in_train == (set() if frozen_batchnorm == "eval" else {"BatchNorm2d"})
    assert all(module.training for module in model.backbone.modules_of(model.backbone.stages[-1]))


def test_modes_hold_through_validation():
    model = make("resnet18", "feature_extraction")
    fit(model)
    assert not model.backbone.network.layer1[0].bn1.training


def test_every_learning_parameter_is_in_one_group_with_its_rate():
    model = make("resnet18", num_classes=102)
    groups = model.configure_optimizers()["optimizer"].param_groups
    assert [(g["name"], g["lr"], sum(p.numel() for p in g["params"])) for g in groups] == [
        ("layer4", 1e-4, 8_393_728),
        ("head", 1e-3, 52_326),
    ]
    grouped = [id(p) for g in groups for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_a_row_without_parameters_makes_no_group():
    table = [{"stage": "neck", "lr": 1e-3}, {"stage": "head", "lr": 1e-3}]
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": table})
    assert [group["name"] for group in model.configure_optimizers()["optimizer"].param_groups] == ["head"]


def test_a_strategy_that_trains_no_parameter_is_refused():
    with pytest.raises(UserError, match=r"stages without parameters"):
        TransferClassifier("resnet18", 3, {"name": "mine", "table": [{"stage": "neck", "lr": 1e-3}]})


def test_a_checkpoint_holds_plain_python_and_gives_the_same_logits(tmp_path):
    model = make()
    trainer = fit(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    torch.load(tmp_path / "model.ckpt", weights_only=True)
    again = TransferClassifier.load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert again.strategy == model.strategy
    assert not again.backbone.network.features[0][0].weight.requires_grad


GRADUAL = [{"stage": "head", "lr": 1e-3}, {"stage": "neck::-1", "lr": "x0.5", "from_epoch": 1, "every": 1}]


def test_a_stage_learns_from_its_epoch_on_and_not_before():
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": GRADUAL})
    states = [snapshot(model)]

    class Watch(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            states.append(snapshot(module))

    trainer = fit(model, epochs=4, callbacks=[Watch()])
    moved = [
        {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
        for before, after in itertools.pairwise(states)
    ]
    assert moved == [{"fc"}, {"fc"}, {"fc", "layer4"}, {"fc", "layer4", "layer3"}]  # the neck, from 1 on, has nothing
    groups = trainer.optimizers[0].param_groups
    assert [group["name"] for group in groups] == ["head", "layer4", "layer3", "layer2", "layer1", "stem"]


def test_what_learns_later_asks_for_gradients_when_devices_are_set_up():
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": GRADUAL})
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.enter_epoch(2)
    assert {n.split(".")[0] for n, p in model.backbone.network.named_parameters() if p.requires_grad} == {
        "fc",
        "layer4",
    }
    assert not model.backbone.network.layer3.training
    assert model.backbone.network.layer4.training


def test_only_norm_parameters_learn_where_the_row_says_so():
    table = [{"stage": "head", "lr": 1e-3}, {"stage": ":head", "lr": 1e-3, "only": ["norm"]}]
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": table})
    before = snapshot(model)
    fit(model, epochs=1)
    moved = {key for key, value in snapshot(model).items() if not torch.equal(before[key], value)}
    norms = {key for key in before if "bn" in key or "downsample.1" in key}
    assert moved == norms | {"fc.weight", "fc.bias"}


def test_norm_tuning_is_refused_where_there_are_no_norms():
    table = [{"stage": "head", "lr": 1e-3}, {"stage": ":head", "lr": 1e-3, "only": ["norm"]}]
    with pytest.raises(UserError, match="trains only norm parameters of stage ':head', but this network has none"):
        TransferClassifier("squeezenet1_1", 3, {"name": "mine", "table": table})


def test_biases_are_those_of_norms_too():
    table = [{"stage": "all", "lr": 1e-3, "only": ["bias"]}]
    model = TransferClassifier("vit_b_16", 3, {"name": "mine", "table": table})
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if p.requires_grad} == {"bias", "in_proj_bias"}
    assert "encoder.ln.bias" in model.groups[0].parameters


def test_val_loss_is_plain_cross_entropy_whatever_the_training_loss():
    torch.manual_seed(0)
    plain = {"label_smoothing": 0.0, "mixup": None, "cutmix": None}
    x, y = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    loaders = DataLoader(TensorDataset(x, y), batch_size=6)
    losses = []
    for regularisation in (plain, plain | {"label_smoothing": 0.3}, plain | {"mixup": 1.0, "cutmix": 1.0}):
        torch.manual_seed(0)
        table = {"name": "mine", "table": TABLES["feature_extraction"]}
        model = TransferClassifier("resnet18", 3, table, regularisation=regularisation)  # it has no dropout
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            num_sanity_val_steps=0, limit_train_batches=1, enable_model_summary=False,
        )  # fmt: skip
        before = trainer.validate(model, loaders, verbose=False)[0]["val/loss"]
        trainer.fit(model, loaders)
        losses.append((before, trainer.callback_metrics["train/loss"].item()))
    with torch.no_grad():
        torch.manual_seed(0)
        fresh = TransferClassifier("resnet18", 3, table).eval()
        expected = torch.nn.functional.cross_entropy(fresh(x), y).item()
        smooth = torch.nn.functional.cross_entropy(fresh(x), y, label_smoothing=0.3).item()
    assert [before for before, _ in losses] == pytest.approx([expected] * 3, rel=1e-5)
    assert losses[0][1] == pytest.approx(expected, rel=1e-4)
    assert losses[1][1] == pytest.approx(smooth, rel=1e-4)
    assert losses[2][1] != pytest.approx(expected, rel=1e-4)


def test_the_state_dict_is_torchvisions(tmp_path):
    from torchvision.models import mobilenet_v3_small

    mobilenet_v3_small(num_classes=3).load_state_dict(make().backbone.network.state_dict(), strict=True)


def test_scores_are_means_over_images_not_over_batches():
    model = make("squeezenet1_1", num_classes=3)
    torch.manual_seed(3)
    images, labels = torch.randn(7, 3, 32, 32), torch.tensor([0, 0, 0, 0, 0, 1, 2])
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    found = trainer.test(model, loader, verbose=False)[0]
    with torch.no_grad():
        logits = model.eval()(images)
    assert found["test/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found["test/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_a_batchnorm_layer_of_which_nothing_learns_is_frozen_though_its_stage_learns():
    table = [{"stage": "head", "lr": 1e-3}, {"stage": -1, "lr": 1e-3, "only": ["weight"]}]
    model = TransferClassifier("resnet18", 3, {"name": "mine", "table": table})
    before = snapshot(model)
    fit(model, epochs=1, callbacks=[FreezeCheck()])
    moved = {key for key, value in snapshot(model).items() if not torch.equal(before[key], value)}
    assert moved == {
        f"layer4.{key}.weight" for key in ("0.conv1", "0.conv2", "1.conv1", "1.conv2", "0.downsample.0")
    } | {
        "fc.weight",
        "fc.bias",
    }


@pytest.mark.parametrize(("images", "size", "together"), [(12, 4, 2), (11, 4, 2), (11, 4, 3), (13, 4, 3), (12, 4, 3)])
def test_batches_that_are_accumulated_take_the_step_of_one_large_batch(images, size, together):
    torch.manual_seed(2)
    pixels, labels = torch.randn(images, 3, 32, 32), torch.arange(images) % 3

    def trained(batch_size, accumulated):
        torch.manual_seed(0)
        strategy = {"name": "feature_extraction", "table": [{"stage": "head", "lr": 0.1}]}
        model = TransferClassifier("resnet18", 3, strategy, class_weights=[1.0, 2.0, 5.0], optimizer={"name": "sgd"})
        trainer = L.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accumulate_grad_batches=accumulated,
        )  # fmt: skip
        trainer.fit(model, DataLoader(TensorDataset(pixels, labels), batch_size=batch_size))
        return model.backbone.network.fc.weight.detach(), trainer.callback_metrics["train/loss"]

    for found, expected in zip(trained(size, together), trained(size * together, 1), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


PULL = {"name": "some", "table": [{"stage": "head", "lr": 1e-3}, {"stage": "2:", "lr": 1e-3, "l2_sp": 0.3}]}


def test_l2_sp_adds_the_gradient_of_half_the_squared_distance_from_the_first_weights():
    torch.manual_seed(0)
    model = TransferClassifier("squeezenet1_1", 3, PULL).eval()
    first = {name: p.detach().clone() for name, p in model.backbone.network.named_parameters()}
    model.keep_anchors()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    pulled = {name for group in model.groups if group.l2_sp for name in group.parameters}
    named = dict(model.backbone.network.named_parameters())
    assert pulled == {name for name in named if name.startswith(tuple(f"features.{k}." for k in range(5, 13)))}
    images = torch.randn(2, 3, 64, 64)
    distance = sum((named[name] - first[name]).square().sum() for name in pulled)
    (model(images).logsumexp(1).sum() + 0.3 / 2 * distance).backward()
    expected = {name: p.grad for name, p in named.items() if p.grad is not None}
    model.zero_grad()
    model(images).logsumexp(1).sum().backward()
    model.on_before_optimizer_step(None)
    for name, gradient in expected.items():
        torch.testing.assert_close(named[name].grad, gradient)
    assert not any("anchor" in key for key in model.state_dict())


@pytest.mark.parametrize(
    ("row", "more", "message"),
    [
        ({"stage": "head"}, {}, "l2_sp for stage 'head', which begins from random weights"),
        ({"stage": -1}, {"weights": "random"}, "l2_sp for stage '-1', which begins from random weights"),
        ({"stage": -1, "adapter": "lora"}, {}, "`l2_sp`, which has no effect beside an adapter"),
    ],
)
def test_l2_sp_without_pretrained_weights_is_refused(row, more, message):
    table = [row | {"lr": 1e-3, "l2_sp": 0.1}]
    with torch.device("meta"), pytest.raises(UserError, match=message):
        TransferClassifier("squeezenet1_1", 3, {"name": "some", "table": table} | more)

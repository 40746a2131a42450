"""Unlike numbers of images a class: weights in the loss or a balanced order, in every way in which a run can be made."""

import json

import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy

from flowers_tl.data.registry import make_data
from flowers_tl.data.sampling import balancing_weights
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.head_stack import HeadStack
from flowers_tl.models.linear_probe import solve_head
from flowers_tl.models.optim import image_losses
from flowers_tl.results.predictions import Predictions
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

COUNTS = {"rose": 30, "aster": 8, "poppy": 4}
HEAD = {"name": "head", "table": [{"stage": "head", "lr": 1e-3}]}


@pytest.fixture
def small(photos, config, tmp_path):
    """A function of overrides that returns a small run's config on unbalanced photographs."""
    own = {"data": "folder", "data.root": photos(COUNTS), "data.image_size": 32, "trainer.max_epochs": 3}
    own |= {"trainer.accelerator": "cpu", "trainer.enable_progress_bar": "false"}
    torch.manual_seed(3)
    torch.save(StagedNetwork("resnet18", 3).network.state_dict(), tmp_path / "weights.pth")
    own["backbone.weights"] = tmp_path / "weights.pth"

    def composed(**more):
        keys = own | {key.replace("__", "."): value for key, value in more.items()}
        return config([f"{key}={value}" for key, value in keys.items()])

    return composed


def head(folder) -> torch.Tensor:
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state["backbone.network.fc.weight"]


def test_weights_follow_from_the_training_images(small):
    found = {}
    for balance in ("none", "weights", "sampler"):
        data = make_data(small(data__balance=balance))
        data.setup()
        found[balance] = data.class_weights
    counts = torch.bincount(torch.tensor(data.images["train"].labels))
    assert found["none"] is found["sampler"] is None
    assert (torch.tensor(found["weights"]) * counts).tolist() == pytest.approx([len(data.images["train"]) / 3] * 3)


def test_they_act_in_the_training_loss_and_in_no_other():
    weights = [0.5, 1.0, 4.0]
    torch.manual_seed(0)
    model = TransferClassifier("resnet18", 3, HEAD, class_weights=weights).eval()
    model.log = lambda *args, **how: None
    batch = torch.randn(5, 3, 32, 32), torch.tensor([0, 0, 1, 2, 2])
    with torch.no_grad():
        loss, logits = model.training_step(batch, 0), model(batch[0])
        model.validation_step(batch, 0)
    each = cross_entropy(logits, batch[1], reduction="none")
    share = torch.tensor(weights)[batch[1]]
    assert loss.item() == pytest.approx((each * share).mean().item(), rel=1e-5)
    assert model.losses["val_loss"].compute().item() == pytest.approx(each.mean().item(), rel=1e-5)
    assert not any("class_weights" in name for name in model.state_dict())


def losses_by_hand(logits, shares, weights, smoothing) -> torch.Tensor:
    """Each image's loss in plain words: the weight of each class that it shows times the smoothed loss for that class."""
    classes, log = logits.shape[1], logits.log_softmax(dim=1)
    smoothed = torch.eye(classes) * (1 - smoothing) + smoothing / classes
    return (shares * weights * -(log @ smoothed)).sum(dim=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_an_images_weight_multiplies_its_smoothed_loss(smoothing):
    """Labels, mixed labels, many heads, any division into batches: the mean over images, never divided by weights."""
    torch.manual_seed(0)
    weights, logits, labels = torch.tensor([0.2, 1.0, 6.0]), torch.randn(7, 3), torch.tensor([0, 0, 0, 1, 1, 2, 0])
    shares = torch.eye(3)[labels]
    each = image_losses(logits, labels, weights, smoothing)
    torch.testing.assert_close(each, losses_by_hand(logits, shares, weights, smoothing))
    mixed = 0.7 * shares + 0.3 * shares.roll(1, dims=0)
    expected = losses_by_hand(logits, mixed, weights, smoothing)
    torch.testing.assert_close(image_losses(logits, mixed, weights, smoothing), expected)
    # An image's loss does not depend on the images beside it: so devices and a smaller last batch change no mean.
    for part in (slice(0, 4), slice(4, 7), slice(6, 7)):
        torch.testing.assert_close(image_losses(logits[part], labels[part], weights, smoothing), each[part])
    if not smoothing:
        assert torch.equal(each, cross_entropy(logits, labels, weights, reduction="none"))
        assert torch.equal(
            image_losses(logits, mixed, weights), cross_entropy(logits, mixed, weights, reduction="none")
        )
    plain = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    assert torch.equal(image_losses(logits, labels, smoothing=smoothing), plain)


def test_a_rare_class_does_not_weigh_on_the_common_ones_smoothed_loss():
    weights = torch.tensor(balancing_weights([0] * 98 + [1] * 3, 2))
    found = image_losses(torch.tensor([[2.0, -1.0]]), torch.tensor([0]), weights, smoothing=0.1)
    assert found.item() == pytest.approx(0.102, abs=5e-4)


def test_mixed_labels_keep_their_weights_in_low_precision():
    weights, labels = torch.tensor([0.5037, 17.31]), torch.tensor([[0.617, 0.383]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = image_losses(torch.tensor([[2.0, -1.0]]), labels, weights, smoothing=0.5)
    torch.testing.assert_close(found, image_losses(torch.tensor([[2.0, -1.0]]), labels, weights, smoothing=0.5))


@pytest.mark.parametrize("mixup", [None, 0.4])
def test_the_training_step_and_many_heads_take_that_loss(mixup):
    weights, chosen = [0.5, 1.0, 4.0], {"label_smoothing": 0.2, "mixup": mixup}
    torch.manual_seed(0)
    model = TransferClassifier("resnet18", 3, HEAD, class_weights=weights, regularisation=chosen).eval()
    model.log = lambda *args, **how: None
    images, labels = torch.randn(5, 3, 32, 32), torch.tensor([0, 0, 1, 2, 2])
    batch = (images, labels) if mixup is None else model.mixing(images, labels)
    shares = torch.eye(3)[labels] if mixup is None else batch[1]
    with torch.no_grad():
        loss, logits = model.training_step(batch, 0), model(batch[0])
    expected = losses_by_hand(logits, shares, torch.tensor(weights), 0.2).mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    if mixup is None:
        head = model.backbone.network.get_submodule(model.backbone.final)
        stack = HeadStack(model.backbone, [head.state_dict()] * 2, columns=2, device=torch.device("cpu"))
        features = model.backbone.run(images, stop="head").detach()
        stack.seed([0], epoch=0)
        losses, _ = stack.backward(features[None], labels[None], 0.2, torch.tensor(weights))
        assert losses.tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_common_images_are_answered_under_weights_and_smoothing(small, photos, tmp_path):
    """With every class's own weight in the smoothed part the common class would never be answered."""
    root = photos({"rose": 90, "aster": 5}, "uneven")
    more = {"data__root": root, "regularisation.label_smoothing": 0.1, "trainer__max_epochs": 10}
    result = train(small(data__balance="weights", optimizer="sgd", **more), tmp_path / "run")
    answers = Predictions.read(tmp_path / "run").splits["val"]
    common = answers.labels == Predictions.read(tmp_path / "run").class_names.index("rose")
    assert (answers.logits.argmax(1) == answers.labels)[common].mean() > 0.8, result["val"]


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_kept_features_and_images_alone_give_the_same(small, tmp_path, balance):
    """The same bits with features kept and computed afresh, and without any cache but for rounding."""
    ways = {"kept": {"cache__views": 3}, "fresh": {"cache__views": "null"}, "plain": {"cache__enabled": "false"}}
    found = {}
    for name, more in ways.items():
        own = small(data__balance=balance, cache__dir=tmp_path / f"{name}_cache", **more)
        train(own, tmp_path / name)
        found[name] = head(tmp_path / name)
    train(small(cache__dir=tmp_path / "kept_cache", cache__views=3), tmp_path / "none")
    assert torch.equal(found["kept"], found["fresh"])
    torch.testing.assert_close(found["kept"], found["plain"], rtol=2e-3, atol=2e-4)
    assert (head(tmp_path / "none") - found["kept"]).abs().max() > 1e-3


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_many_heads_end_as_their_own_runs(small, tmp_path, balance):
    # Batches of unlike weights, and steps as large as the gradient: Adam would hide another norm of the loss.
    more = {"data__batch_size": 8, "optimizer": "sgd", "heads__lr": "[0.1,0.01]", "heads__seeds": 2}
    asked = small(data__balance=balance, **more)
    found = train(asked, tmp_path / "heads")
    for name in (found["heads"][0], found["heads"][-1]):
        folder = tmp_path / "heads" / name
        result = train(yaml.safe_load((folder / "config.yaml").read_text()), tmp_path / name)
        own = torch.load(folder / "head.pt")["fc.weight"]
        torch.testing.assert_close(own, head(tmp_path / name), rtol=0, atol=1e-4)
        assert json.loads((folder / "result.json").read_text())["val"] == pytest.approx(result["val"], abs=1e-4)
    plain = train(small(**more), tmp_path / "plain")
    other = torch.load(tmp_path / "plain" / plain["heads"][0] / "head.pt")["fc.weight"]
    assert (torch.load(tmp_path / "heads" / found["heads"][0] / "head.pt")["fc.weight"] - other).abs().max() > 1e-3


def test_a_head_is_solved_as_if_images_of_small_classes_came_more_often():
    torch.manual_seed(0)
    features, labels = torch.randn(24, 512, 1, 1), torch.tensor([0] * 12 + [1] * 8 + [2] * 4)
    often = torch.cat([torch.arange(24), torch.arange(20, 24), torch.arange(20, 24)])  # those of class 2 three times
    heads = []
    for images, weights in (
        (torch.arange(24), torch.tensor([1.0, 1.0, 3.0])),
        (often, None),
        (torch.arange(24), None),
    ):
        backbone = StagedNetwork("resnet18", 3)
        own = features[images].flatten(1), labels[images]
        solve_head(backbone, own, (features.flatten(1), labels), [0.1], weights)
        heads.append(backbone.network.fc.weight.detach())
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=1e-4)
    assert (heads[0] - heads[2]).abs().max() > 1e-3


def test_a_solved_head_has_weights_and_no_order(small, tmp_path):
    solved = {}
    for balance in ("none", "weights"):
        train(small(strategy="linear_probe", data__balance=balance), tmp_path / balance)
        solved[balance] = head(tmp_path / balance)
    assert (solved["none"] - solved["weights"]).abs().max() > 1e-3
    for more in ({}, {"heads__weight_decay": "[0.1,0.01]"}):
        with pytest.raises(
            UserError, match=r"data.balance=sampler has no effect with strategy.head=solved.*balance=weights"
        ):
            train(small(strategy="linear_probe", data__balance="sampler", **more), tmp_path / "refused")


@pytest.mark.parametrize(
    "more", [{"regularisation": "mixup"}, {"regularisation": "label_smoothing"}, {"strategy": "lp_ft"}]
)
def test_weights_go_with_all_else(small, tmp_path, more):
    assert train(small(data__balance="weights", **more), tmp_path / "run")["status"] == "finished"


def test_a_run_with_weights_goes_on_to_the_same_bits(small, tmp_path):
    train(small(data__balance="weights"), tmp_path / "whole")
    train(small(data__balance="weights", trainer__max_epochs=1), tmp_path / "parts")
    train(small(data__balance="weights", ckpt_path="last"), tmp_path / "parts", named_keys=("trainer.max_epochs",))
    assert torch.equal(head(tmp_path / "whole"), head(tmp_path / "parts"))
    loaded = TransferClassifier.load_from_checkpoint(
        tmp_path / "parts" / "checkpoints" / "last.ckpt", map_location="cpu"
    )
    assert loaded.class_weights.tolist() == pytest.approx(loaded.hparams.class_weights)

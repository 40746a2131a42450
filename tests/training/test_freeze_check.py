"""Each known way in which frozen is not frozen, or learning does not learn, is planted here and must be caught."""

import warnings

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.freeze_check import FreezeCheck, FreezeCheckError, fingerprint_tensors

LATE = [{"stage": "head", "lr": 1e-2}, {"stage": -1, "lr": 1e-3, "from_epoch": 1}]


def make(table=LATE, kind=TransferClassifier, backbone="resnet18", **more) -> TransferClassifier:
    torch.manual_seed(0)
    return kind(backbone, 3, {"name": "mine", "table": table, **more})


def fit(model, epochs=2, callbacks=(), ckpt_path=None, images=8, **arguments) -> L.Trainer:
    torch.manual_seed(1)
    data = DataLoader(TensorDataset(torch.randn(images, 3, 32, 32), torch.arange(images) % 3), batch_size=4)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*callbacks, FreezeCheck()], **arguments,
    )  # fmt: skip
    trainer.fit(model, data, data, ckpt_path=ckpt_path)
    return trainer


def proof_of(trainer) -> FreezeCheck:
    return next(callback for callback in trainer.callbacks if isinstance(callback, FreezeCheck))


def test_a_sound_run_is_proven_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings(
            "ignore", message="The .*dataloader.* does not have many workers|Found .* in eval mode|.*LeafSpec"
        )
        summary = proof_of(fit(make(), log_every_n_steps=1)).summary
    assert summary["epochs"] == 2
    assert summary["never_began"] == []
    assert summary["exempt"] is None
    whole = len(make().backbone.network.state_dict())
    assert summary["frozen_tensors"] == whole - sum(
        key.startswith(("layer4", "fc")) for key in make().backbone.network.state_dict()
    )


def test_notebook_batchnorm_is_exempt_and_the_run_says_so():
    assert proof_of(fit(make(frozen_batchnorm="train"))).summary["exempt"] == "BatchNorm statistics"


def test_a_group_that_never_began_is_told():
    with pytest.warns(UserWarning, match="ended before layer4 began to learn"):
        assert proof_of(fit(make(), epochs=1)).summary["never_began"] == ["layer4"]


class BatchNormInTrainMode(TransferClassifier):
    def train(self, mode=True):
        return L.LightningModule.train(self, mode)


class SomeBatchNormLate(TransferClassifier):
    def training_step(self, batch, batch_idx):
        self.backbone.network.bn1.train()  # after the modes were looked at: only the statistics tell
        return super().training_step(batch, batch_idx)


class EverythingAsksForGradients(TransferClassifier):
    def enter_epoch(self, epoch):
        super().enter_epoch(epoch)
        self.backbone.requires_grad_(True)


class NeverUnfreezes(TransferClassifier):
    def enter_epoch(self, epoch):
        super().enter_epoch(min(epoch, 0) if epoch is not None else None)


class UnfreezesWithoutModes(TransferClassifier):
    def train(self, mode=True):
        super().train(mode)
        self.backbone.network.layer4.eval()
        return self


class WithGroups(TransferClassifier):
    """Hands the optimizer's groups to `spoil` before they are used."""

    def configure_optimizers(self):
        found = super().configure_optimizers()
        self.spoil(found["optimizer"], self.backbone.network)
        return found


class FrozenWeightDecays(WithGroups):
    def spoil(self, optimizer, network):
        optimizer.param_groups[0]["weight_decay"] = 0.1
        optimizer.param_groups[0]["params"].append(network.conv1.weight)


class GroupIsMissing(WithGroups):
    def spoil(self, optimizer, network):
        del optimizer.param_groups[1]


class ParameterInTwoGroups(WithGroups):
    def spoil(self, optimizer, network):
        optimizer.param_groups[1]["params"].append(network.fc.weight)


class ParameterInTheWrongGroup(WithGroups):
    def spoil(self, optimizer, network):
        head, layer4 = optimizer.param_groups
        layer4["params"].append(head["params"].pop())


class ScheduleSkipsLateGroups(TransferClassifier):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()["optimizer"]
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 1.0, lambda step: 0.0])
        return {"optimizer": optimizer, "lr_scheduler": rates}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (BatchNormInTrainMode, r"conv1 \(Conv2d\) is in train mode in epoch 1, against the table"),
        (SomeBatchNormLate, r"bn1.running_mean is frozen in epoch 1, and has changed"),
        (EverythingAsksForGradients, r"conv1.weight should be frozen in epoch 1, but requires a gradient"),
        (NeverUnfreezes, r"layer4.0.conv1.weight should be trainable in epoch 2, but is frozen"),
        (UnfreezesWithoutModes, r"layer4 \(Sequential\) is in eval mode in epoch 2"),
        (FrozenWeightDecays, r"conv1.weight is in the optimizer's groups head; by the table it is in none"),
        (GroupIsMissing, r"layer4.0.conv1.weight is in the optimizer's groups none; by the table it is in layer4"),
        (ParameterInTwoGroups, r"fc.weight is in the optimizer's groups head, layer4; by the table it is in head"),
        (ParameterInTheWrongGroup, r"fc.bias is in the optimizer's groups layer4"),
        (ScheduleSkipsLateGroups, r"layer4.* should be trainable in epoch 2, but did not change \(its rate is 0\)"),
    ],
)
def test_a_planted_fault_stops_the_run(fault, message):
    with pytest.raises(FreezeCheckError, match=message):
        fit(make(kind=fault))


def test_a_frozen_weight_that_a_callback_moves_stops_the_run():
    class Nudge(L.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            if trainer.current_epoch == 1:
                with torch.no_grad():
                    module.backbone.network.layer1[0].conv1.weight[0, 0, 0, 0].nextafter_(torch.tensor(9.0))

    with pytest.raises(FreezeCheckError, match=r"layer1.0.conv1.weight is frozen in epoch 2, and has changed"):
        fit(make(), callbacks=[Nudge()])


def checkpoint_after(epochs, path):
    fit(make(), epochs=epochs).save_checkpoint(path)
    return path


def test_a_resume_that_freezes_again_stops_the_run(tmp_path):
    class FreezesAgain(TransferClassifier):
        def on_train_epoch_start(self):
            self.enter_epoch(0)

    path = checkpoint_after(2, tmp_path / "two.ckpt")
    with pytest.raises(FreezeCheckError, match=r"layer4.0.conv1.weight should be trainable in epoch 3, but is frozen"):
        fit(make(kind=FreezesAgain), epochs=3, ckpt_path=path)


def test_a_resume_on_other_frozen_weights_stops_the_run(tmp_path):
    path = checkpoint_after(2, tmp_path / "two.ckpt")
    content = torch.load(path, weights_only=True)
    content["state_dict"]["backbone.network.bn1.weight"][0] += 1e-6
    torch.save(content, path)
    with pytest.raises(FreezeCheckError, match=r"bn1.weight is frozen in epoch 3, and has changed"):
        fit(make(), epochs=3, ckpt_path=path)


def test_a_sound_resume_is_proven(tmp_path):
    summary = proof_of(fit(make(), epochs=3, ckpt_path=checkpoint_after(2, tmp_path / "two.ckpt"))).summary
    assert summary["epochs"] == 3


def test_a_gradient_of_exactly_zero_is_a_warning():
    class Deaf(TransferClassifier):
        def forward(self, images):
            return super().forward(images) - self.backbone.network.fc.bias  # cancels: its gradient is zero

    with pytest.warns(UserWarning, match=r"fc.bias did not change in epoch 1: its gradient was exactly zero"):
        fit(make([{"stage": "head", "lr": 1e-2}], kind=Deaf), epochs=1)


def test_fingerprints_show_every_change():
    torch.manual_seed(0)
    named = {
        "whole": torch.randn(5, 7), "odd": torch.randn(3), "half": torch.randn(9).bfloat16(), "count": torch.tensor(3),
        "view": torch.randn(6, 4).t(),
    }  # fmt: skip
    before = fingerprint_tensors(named)
    assert fingerprint_tensors({name: tensor.clone() for name, tensor in named.items()}) == before
    for name, tensor in named.items():
        flat = tensor.reshape(-1)
        for place in range(flat.numel()):
            other = flat.clone()
            other[place] = (
                other[place] + 1 if name == "count" else other[place].nextafter(torch.tensor(9.0, dtype=other.dtype))
            )
            assert fingerprint_tensors({name: other.reshape(tensor.shape)})[name] != before[name]
    assert fingerprint_tensors({"whole": named["whole"].flip(0)})["whole"] != before["whole"]
    ones = fingerprint_tensors({"a": torch.ones(64), "b": torch.full((64,), 0.9)})
    assert ones["a"] != ones["b"]

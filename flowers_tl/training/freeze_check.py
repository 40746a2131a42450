"""A check while a run trains that the strategy's table is what happens: what is frozen stays, what is trainable moves.

What should happen is read off the table anew here, and compared with what happens: so a fault in the module, the
optimizer, the schedule, a callback or a resume shows up, whichever it is.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm

from flowers_tl.models.classifier import TransferClassifier

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class FreezeCheckError(Exception):
    """What happened is not what the strategy's table says. The message names the tensor, module or group."""

    def __str__(self) -> str:
        return f"{super().__str__()} This is a fault of the code, not of your settings: please report it."


class FreezeCheck(Callback):
    """Check that the table is what happens; raise :class:`FreezeCheckError` where it is not.

    When training begins, again after each resume: every parameter of the table is in exactly one group of the optimizer
    and no other is, and what is still frozen is as it was when the run first began. In each epoch's first batch: what
    requires gradients and what is in train mode. At each epoch's end, and when training ends: no frozen parameter or
    buffer has moved by a bit, every trainable parameter has moved (where its gradient was exactly zero there is a
    warning), and all processes hold the same weights.

    ``frozen_batchnorm: train`` exempts the BatchNorm statistics of frozen stages; :attr:`summary` says so.
    """

    # The name under which checkpoints hold its state, those of version 0.1.0 too.
    state_key = "Proof"

    def __init__(self) -> None:
        # Fingerprints when the run first began, through all resumes.
        self.first: dict[str, int] = {}
        self.epochs = 0
        self.summary: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.epochs = state["first"], state["epochs"]

    def on_train_start(self, trainer: Trainer, module: TransferClassifier) -> None:
        self.before = fingerprint_tensors(tensors(module))
        self.first = self.first or self.before
        check_groups(module, trainer.optimizers[0].param_groups)
        self.check_frozen(module, self.before, trainer.current_epoch)

    def on_train_epoch_start(self, *_: Any) -> None:
        # Highest rate of each group in the epoch, and largest absolute gradient of each parameter in its last step.
        self.rates: dict[str, float] = {}
        self.gradients: dict[str, float] = {}

    def on_train_batch_start(self, trainer: Trainer, module: TransferClassifier, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            check_modes(module, trainer.current_epoch)

    def on_before_optimizer_step(self, trainer: Trainer, module: TransferClassifier, optimizer: Any) -> None:
        # Schedules change them after each step.
        for group in optimizer.param_groups:
            self.rates[group["name"]] = max(group["lr"], self.rates.get(group["name"], 0.0))

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: TransferClassifier, *_: Any) -> None:
        # Before Lightning clears the gradients for the validation.
        if trainer.is_last_batch:
            named = module.backbone.network.named_parameters()
            self.gradients = {name: p.grad.abs().max().item() for name, p in named if p.grad is not None}

    def on_train_epoch_end(self, trainer: Trainer, module: TransferClassifier) -> None:
        now, epoch = fingerprint_tensors(tensors(module)), trainer.current_epoch
        self.check_frozen(module, now, epoch)
        names, _ = trainable(module, epoch)
        # Without any rate there was no step.
        if self.rates:
            self.check_moved(module, {name for name in names if now[name] == self.before[name]}, epoch)
        if trainer.world_size > 1:
            weights = torch.tensor([now[name] for name in sorted(names)], device=trainer.strategy.root_device)
            if not (trainer.strategy.all_gather(weights) == weights).all():
                raise FreezeCheckError(
                    "The processes hold different weights: gradients of a trainable stage were not shared between them."
                )
        self.before = now
        self.epochs += 1

    def on_train_end(self, trainer: Trainer, module: TransferClassifier) -> None:
        # Lightning has counted the last epoch already.
        self.summarise(module, trainer.current_epoch - 1)

    def summarise(self, module: TransferClassifier, last: int) -> None:
        """Check the weights of a run whose ``last`` epoch is over, and say what was checked."""
        frozen = self.check_frozen(module, fingerprint_tensors(tensors(module)), last)
        unreached = [group.name for group in module.groups if group.from_epoch > last]
        if unreached:
            rank_zero_warn(f"The run ended before {', '.join(unreached)} began to learn: train for more epochs.")
        self.summary = {"frozen_tensors": frozen, "epochs": self.epochs, "never_began": unreached}
        self.summary["exempt"] = "BatchNorm statistics" if module.strategy.frozen_batchnorm == "train" else None

    def check_frozen(self, module: TransferClassifier, now: Mapping[str, int], epoch: int) -> int:
        """Compare what is frozen in ``epoch`` with the run's beginning; return how many tensors that are."""
        names = frozen_tensors(module, epoch)
        for name in names:
            if now[name] != self.first[name]:
                raise FreezeCheckError(f"{name} is frozen in epoch {epoch + 1}, and has changed.")
        return len(names)

    def check_moved(self, module: TransferClassifier, unmoved: set[str], epoch: int) -> None:
        """A trainable parameter that did not move in ``epoch`` must have a reason."""
        parameters = dict(module.backbone.network.named_parameters())
        # Else the run would have ended as diverged.
        if unmoved and not all(map(math.isfinite, self.gradients.values())):
            rank_zero_warn(f"fp16's gradient scaler skipped the last step of epoch {epoch + 1}, which is not checked.")
            return
        for group in module.groups:
            rate = self.rates.get(group.name, 0.0)
            for name in sorted(unmoved.intersection(group.parameters)):
                gradient = self.gradients.get(name, 0.0)
                if gradient == 0:
                    reason = "its gradient was exactly zero"
                # A step below the spacing of floats is lost without a fault anywhere.
                elif 0 < rate * gradient < torch.finfo(torch.float32).eps * parameters[name].abs().max().item():
                    reason = f"rate {rate:g} times gradient {gradient:g} is too small for float32"
                else:
                    raise FreezeCheckError(
                        f"{name} should be trainable in epoch {epoch + 1}, but did not change (its rate is {rate:g})."
                    )
                rank_zero_warn(f"{name} did not change in epoch {epoch + 1}: {reason}.")


def tensors(module: TransferClassifier) -> dict[str, Tensor]:
    """All parameters and buffers of the network, by their torchvision names."""
    network = module.backbone.network
    return dict(network.named_parameters()) | dict(network.named_buffers())


def trainable(module: TransferClassifier, epoch: int) -> tuple[set[str], set[str]]:
    """Names of the parameters that the table makes trainable in ``epoch``, and of the layers that hold them."""
    names = {name for group in module.groups if group.from_epoch <= epoch for name in group.parameters}
    return names, {name.rpartition(".")[0] for name in names}


def frozen_tensors(module: TransferClassifier, epoch: int) -> list[str]:
    """Names of all that must not move in ``epoch``: frozen parameters, and the buffers beside them.

    BatchNorm statistics move with the layer's scale and shift: where one of these is trainable, they follow the batches.
    """
    network, (names, layers) = module.backbone.network, trainable(module, epoch)
    frozen = [name for name, _ in network.named_parameters() if name not in names]
    for name, _ in network.named_buffers():
        layer, _, kind = name.rpartition(".")
        if kind not in STATISTICS or not (layer in layers or module.strategy.frozen_batchnorm == "train"):
            frozen.append(name)
    return frozen


def check_groups(module: TransferClassifier, groups: Iterable[Mapping[str, Any]]) -> None:
    """The optimizer's groups hold each parameter of the table once, in its group, and nothing else."""
    names = {id(parameter): name for name, parameter in module.backbone.network.named_parameters()}
    expected = {name: [group.name] for group in module.groups for name in group.parameters}
    actual: dict[str, list[str]] = {name: [] for name in expected}
    for group in groups:
        for parameter in group["params"]:
            actual.setdefault(names.get(id(parameter), "a tensor outside the network"), []).append(group["name"])
    for name, places in actual.items():
        if places != expected.get(name, []):
            table = ", ".join(expected.get(name, ["none"]))
            raise FreezeCheckError(
                f"{name} is in the optimizer's groups {', '.join(places) or 'none'}; by the table it is in {table}."
            )


def check_modes(module: TransferClassifier, epoch: int) -> None:
    """What is trainable requires gradients and is in train mode; all else is in eval mode but for exempt BatchNorm."""
    network, (names, layers) = module.backbone.network, trainable(module, epoch)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad != (name in names):
            should, does = ("trainable", "is frozen") if name in names else ("frozen", "requires a gradient")
            raise FreezeCheckError(f"{name} should be {should} in epoch {epoch + 1}, but {does}.")
    stages = {stage for group in module.groups if group.from_epoch <= epoch for stage in group.stages}
    for stage in module.backbone.stages:
        for name, part in network.named_modules():
            if isinstance(part, _BatchNorm):
                expected = name in layers or module.strategy.frozen_batchnorm == "train"
            else:
                expected = stage.name in stages
            if stage.owns(name) and part.training != expected:
                mode = "train" if part.training else "eval"
                raise FreezeCheckError(
                    f"{name} ({type(part).__name__}) is in {mode} mode in epoch {epoch + 1}, against the table."
                )


@torch.no_grad()
def fingerprint_tensors(named: Mapping[str, Tensor]) -> dict[str, int]:
    """A 64-bit number for each tensor that follows from its bits: equal for equal ones, and for others hardly ever.

    Each tensor's bytes are taken as 64-bit words, multiplied by odd numbers that follow from the place, and summed modulo
    2**64. A change of one word always shows, since odd numbers can be divided by. All of it happens where the tensors are,
    so that nothing but the numbers leaves a GPU.
    """
    if not named:
        return {}
    raw = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in named.values()]
    words = [pad(data, (0, -len(data) % 8)).view(torch.int64) for data in raw]
    odd = torch.arange(1, 2 * max(map(len, words)), 2, device=words[0].device)
    return dict(zip(named, torch.stack([(word * odd[: len(word)]).sum() for word in words]).tolist(), strict=True))

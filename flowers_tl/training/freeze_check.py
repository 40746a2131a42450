"""Proof, while a run goes on, that the strategy's table is what happens: nothing frozen moves, all that learns does.

What should happen is read off the table anew here, and compared with what is found: so a fault in the module, the
optimizer, the schedule, a callback or a resume shows up, whichever it is.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.functional import pad

from flowers_tl.models.classifier import TransferClassifier

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class FreezeCheckError(Exception):
    """What happened is not what the strategy's table says. The message names the tensor, module or group."""


class FreezeCheck(Callback):
    """Check that the table is what happens; raise :class:`ProofError` where it is not.

    When training begins, again after each resume: every parameter of the table is in exactly one group of the optimizer
    and no other is, and what is still frozen is as it was when the run first began. In each epoch's first batch: what
    asks for gradients and what is in train mode. At each epoch's end, and when training ends: no frozen parameter or
    buffer has moved by a bit, every learning parameter has moved (one whose gradient was exactly zero is warned of), and
    all processes hold the same weights.

    ``frozen_batchnorm: train`` exempts the BatchNorm statistics of frozen stages; :attr:`summary` says so.
    """

    # The name under which checkpoints hold its state, those of version 0.1.0 too.
    state_key = "Proof"

    def __init__(self) -> None:
        self.first: dict[str, int] = {}  # fingerprints when the run first began, through all resumes
        self.epochs = 0
        self.summary: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.epochs = state["first"], state["epochs"]

    def on_train_start(self, trainer: L.Trainer, module: TransferClassifier) -> None:
        self.before = fingerprints(tensors(module))
        self.first = self.first or self.before
        check_groups(module, trainer.optimizers[0].param_groups)
        self.check_frozen(module, self.before, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, module: TransferClassifier) -> None:
        self.modes_checked, self.began_at = False, trainer.global_step
        self.steepest: dict[str, float] = {}
        self.rates: dict[str, float] = {}

    def on_train_batch_start(self, trainer: L.Trainer, module: TransferClassifier, batch: Any, batch_idx: int) -> None:
        if not self.modes_checked:
            check_gradients(module, trainer.current_epoch)
            check_modes(module, trainer.current_epoch)
            self.modes_checked = True

    def on_before_optimizer_step(self, trainer: L.Trainer, module: TransferClassifier, optimizer: Any) -> None:
        for group in optimizer.param_groups:  # schedules change them after each step
            self.rates[group["name"]] = max(group["lr"], self.rates.get(group["name"], 0.0))

    def on_train_batch_end(self, trainer: L.Trainer, module: TransferClassifier, *rest: Any) -> None:
        if trainer.is_last_batch:  # before Lightning clears the gradients for the validation
            self.steepest = steepest(module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: TransferClassifier) -> None:
        now = fingerprints(tensors(module))
        self.check_frozen(module, now, trainer.current_epoch)
        if trainer.global_step > self.began_at:
            still = {name for name in trainable_names(module, trainer.current_epoch) if now[name] == self.before[name]}
            check_still(module, still, self.steepest, self.rates, trainer.current_epoch)
        if trainer.world_size > 1:
            check_equal(trainer, [now[name] for name in sorted(trainable_names(module, trainer.current_epoch))])
        self.before = now
        self.epochs += 1

    def on_train_end(self, trainer: L.Trainer, module: TransferClassifier) -> None:
        last = trainer.current_epoch - 1  # Lightning has counted the last epoch already
        frozen = self.check_frozen(module, fingerprints(tensors(module)), last)
        unreached = [group.name for group in module.groups if group.from_epoch > last]
        if unreached:
            rank_zero_warn(f"The run ended in epoch {last}, before {', '.join(unreached)} began to learn.")
        self.summary = {"frozen_tensors": frozen, "epochs": self.epochs, "never_began": unreached}
        self.summary["exempt"] = "BatchNorm statistics" if module.strategy.frozen_batchnorm == "train" else None

    def check_frozen(self, module: TransferClassifier, now: Mapping[str, int], epoch: int) -> int:
        """Compare what is frozen in ``epoch`` with the run's beginning; return how many tensors that are."""
        frozen = frozen_tensors(module, epoch)
        for name in frozen:
            if now[name] != self.first[name]:
                raise FreezeCheckError(f"{name} is frozen in epoch {epoch}, and has changed.")
        return len(frozen)


def tensors(module: TransferClassifier) -> dict[str, Tensor]:
    """All parameters and buffers of the network, by their torchvision names."""
    network = module.backbone.network
    return dict(network.named_parameters()) | dict(network.named_buffers())


def trainable_names(module: TransferClassifier, epoch: int) -> set[str]:
    """Names of the parameters that learn in ``epoch``, by the table."""
    return {name for group in module.groups if group.from_epoch <= epoch for name in group.parameters}


def trainable_stages(module: TransferClassifier, epoch: int) -> set[str]:
    return {stage for group in module.groups if group.from_epoch <= epoch for stage in group.stages}


def frozen_tensors(module: TransferClassifier, epoch: int) -> list[str]:
    """Names of all that must not move in ``epoch``: parameters that do not learn, and the buffers beside them.

    BatchNorm statistics move with the layer's own scale and shift: where one of these learns, they follow the batches.
    """
    network, learn = module.backbone.network, trainable_names(module, epoch)
    exempt = STATISTICS if module.strategy.frozen_batchnorm == "train" else ()
    layers = {name.rpartition(".")[0] for name in learn}
    names = [name for name, _ in network.named_parameters() if name not in learn]
    for name, _ in network.named_buffers():
        layer, _, own = name.rpartition(".")
        if own not in exempt and not (own in STATISTICS and layer in layers):
            names.append(name)
    return names


def check_groups(module: TransferClassifier, groups: Iterable[Mapping[str, Any]]) -> None:
    """Each parameter of the table is in its own group and in no other, and nothing else is in any."""
    names = {id(parameter): name for name, parameter in module.backbone.network.named_parameters()}
    expected = {name: group.name for group in module.groups for name in group.parameters}
    found: dict[str, str] = {}
    for group in groups:
        for parameter in group["params"]:
            name = names.get(id(parameter), "a tensor outside the network")
            if name in found:
                raise FreezeCheckError(f"{name} is in two groups of the optimizer, {found[name]} and {group['name']}.")
            if expected.get(name) != group["name"]:
                raise FreezeCheckError(
                    f"{name} is in the optimizer's group {group['name']}, where the table does not put it."
                )
            found[name] = group["name"]
    for name in expected:
        if name not in found:
            raise FreezeCheckError(
                f"{name} shall learn in group {expected[name]}, but is in no group of the optimizer."
            )


def check_gradients(module: TransferClassifier, epoch: int) -> None:
    """What asks for gradients is what learns in this epoch."""
    learn = trainable_names(module, epoch)
    for name, parameter in module.backbone.network.named_parameters():
        if parameter.requires_grad != (name in learn):
            should, does = ("learn", "is frozen") if name in learn else ("be frozen", "asks for a gradient")
            raise FreezeCheckError(f"{name} should {should} in epoch {epoch}, but {does}.")


def check_modes(module: TransferClassifier, epoch: int) -> None:
    """What learns is in train mode, all else in eval mode but for exempt BatchNorm."""
    stages, layers = (
        trainable_stages(module, epoch),
        {name.rpartition(".")[0] for name in trainable_names(module, epoch)},
    )
    for stage in module.backbone.stages:
        for name, part in module.backbone.network.named_modules():
            if not stage.owns(name):
                continue
            expected = stage.name in stages
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                expected = name in layers or module.strategy.frozen_batchnorm == "train"
            if part.training != expected:
                mode = "train" if part.training else "eval"
                raise FreezeCheckError(
                    f"{name} ({type(part).__name__}) is in {mode} mode in epoch {epoch}, against the table."
                )


@torch.no_grad()
def steepest(module: TransferClassifier) -> dict[str, float]:
    """Largest absolute gradient of each parameter that has one."""
    named = {name: p.grad.abs().max() for name, p in module.backbone.network.named_parameters() if p.grad is not None}
    return dict(zip(named, torch.stack(list(named.values())).tolist(), strict=True)) if named else {}


def check_still(
    module: TransferClassifier,
    still: set[str],
    gradients: Mapping[str, float],
    rates: Mapping[str, float],
    epoch: int,
) -> None:
    """What should learn and did not move in ``epoch`` had no gradient in its last step, or something is at fault.

    Args:
        module: holds the table.
        still: names of the parameters that did not move.
        gradients: largest absolute gradient by parameter, in the epoch's last step.
        rates: highest learning rate of the epoch by group.
        epoch: counted from 0.
    """
    group_of = {name: group.name for group in module.groups for name in group.parameters}
    named = dict(module.backbone.network.named_parameters())
    for name in sorted(still):
        gradient, rate = gradients.get(name, 0.0), rates.get(group_of[name], 0.0)
        if gradient == 0:
            rank_zero_warn(f"{name} did not move in epoch {epoch}: its gradient was exactly zero.")
        # Else the run would have ended as diverged.
        elif not math.isfinite(gradient):
            rank_zero_warn(f"{name} did not move in epoch {epoch}: fp16's gradient scaler skipped its steps.")
        # A step below the spacing of floats is lost without anybody's fault.
        elif 0 < rate * gradient < torch.finfo(torch.float32).eps * named[name].abs().max().item():
            rank_zero_warn(
                f"{name} did not move in epoch {epoch}: rate {rate:g} times gradient {gradient:g} is too little."
            )
        else:
            raise FreezeCheckError(f"{name} should learn in epoch {epoch}, but did not move (its rate is {rate:g}).")


def check_equal(trainer: L.Trainer, prints: list[int]) -> None:
    """All processes hold the same learning weights."""
    mine = torch.tensor(prints, device=trainer.strategy.root_device)
    everyones = trainer.strategy.all_gather(mine)
    if not (everyones == mine).all():
        raise FreezeCheckError(
            "The processes hold different weights: gradients of a learning stage were not shared between them."
        )


@torch.no_grad()
def fingerprints(named: Mapping[str, Tensor]) -> dict[str, int]:
    """A 64-bit number for each tensor that follows from its bits: equal for equal ones, and for others hardly ever.

    Each tensor's bytes are taken as 64-bit words, multiplied by odd numbers that follow from the place, and summed modulo
    2**64. A change of one word always shows, since odd numbers can be divided by. All of it happens where the tensors are,
    so that nothing but the numbers leaves a GPU.
    """
    if not named:
        return {}
    words = [pad(raw, (0, -len(raw) % 8)).view(torch.int64) for raw in map(as_bytes, named.values())]
    odd = torch.arange(1, 2 * max(map(len, words)), 2, device=words[0].device)
    return dict(zip(named, torch.stack([(word * odd[: len(word)]).sum() for word in words]).tolist(), strict=True))


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)

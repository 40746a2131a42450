"""How learning goes: the loss, the optimizer, its rates over time, and the mixing of images. The table says how fast.

Everything here is built from plain Python, one mapping a config group; a key that is None is left to the library.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torchvision.transforms import v2

from flowers_tl.models.strategy import ParameterGroup
from flowers_tl.utils.errors import UserError, suggest

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
SCHEDULES = ("constant", "cosine", "onecycle")


def image_losses(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The training loss of each image (n,): cross-entropy with smoothed labels, times the weight of the image's class.

    PyTorch would give the smoothed part of a label the weight of every class that it is spread over. The mean over a
    batch is a plain one: divided by the batch's weights, as PyTorch would, it would weigh batches too, and come out
    otherwise on several devices.

    Args:
        logits: (n, classes).
        labels: int64 (n,), or an image's shares of the classes, float (n, classes). Each share has its class's weight.
        class_weights: float (classes,); None: all count alike.
        smoothing: share of each label that is spread over all classes.
    """
    if class_weights is None:
        return cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    losses = cross_entropy(logits, labels, class_weights, reduction="none")
    if not smoothing:
        return losses
    # Not a matrix product: autocast would round it.
    weights = class_weights[labels] if labels.ndim == 1 else (labels * class_weights).sum(dim=1)
    return (1 - smoothing) * losses - smoothing * weights * logits.log_softmax(dim=1).mean(dim=1)


def make_optimizer(groups: Sequence[tuple[ParameterGroup, list[nn.Parameter]]], chosen: Mapping[str, Any]) -> Optimizer:
    """Build the optimizer with one parameter group for each of ``groups``, named for it.

    Raises:
        UserError: if ``chosen`` names an unknown optimizer, or a key that this one does not have.
    """
    name, arguments = split_choice("optimizer", chosen, OPTIMIZERS)
    accepted = inspect.signature(OPTIMIZERS[name]).parameters
    for key, value in arguments.items():
        if key not in accepted:
            raise UserError(
                f"optimizer.{key}={value} means nothing to {name}: leave it out, or choose another optimizer."
            )
    parameters = []
    for group, tensors in groups:
        own = {} if group.weight_decay is None else {"weight_decay": group.weight_decay}
        parameters.append({"params": tensors, "lr": group.lr, "name": group.name, **own})
    try:
        return OPTIMIZERS[name](parameters, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"The optimizer {name} refuses the values under optimizer: {error}.") from error


def make_schedule(optimizer: Optimizer, chosen: Mapping[str, Any], steps: int, steps_per_epoch: float) -> LRScheduler:
    """Build what changes all groups' rates from step to step.

    ``cosine`` rises linearly over ``warmup_epochs`` and falls along half a cosine to ``final`` times the rate (Loshchilov
    and Hutter 2017). ``onecycle`` is PyTorch's, with the table's rates as its peaks (Smith and Topin 2018). A stage that
    unfreezes late begins where the schedule then is.

    Args:
        optimizer: whose rates change.
        chosen: ``name`` and the keys of this schedule.
        steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
    """
    name, arguments = split_choice("scheduler", chosen, SCHEDULES)
    if name == "constant":
        return LambdaLR(optimizer, lambda step: 1.0)
    if not math.isfinite(steps):
        raise UserError(f"scheduler={name} needs to know where the run ends: set trainer.max_epochs.")
    if name == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        share = arguments.get("pct_start", 0.3)
        if not 0 < share < 1:
            raise UserError(
                f"scheduler.pct_start={share} must lie between 0 and 1: it is the share of steps that rise."
            )
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=max(2, steps), pct_start=share)
    warmup, final = round(arguments.get("warmup_epochs", 0) * steps_per_epoch), arguments.get("final", 0.0)
    if not (0 <= warmup <= steps and 0 <= final <= 1):
        raise UserError(
            f"scheduler.warmup_epochs={arguments.get('warmup_epochs')} must lie within the run, and scheduler.final={final} "
            "between 0 and 1."
        )

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return final + (1 - final) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2

    return LambdaLR(optimizer, factor)


def make_mixing(chosen: Mapping[str, Any], num_classes: int) -> nn.Module | None:
    """Return what mixes a batch of (images, labels) into (images, class shares (n, num_classes)); None for nothing.

    With both ``mixup`` (Zhang et al. 2018) and ``cutmix`` (Yun et al. 2019) each batch takes one of them at random.
    """
    kinds = (("mixup", v2.MixUp), ("cutmix", v2.CutMix))
    for key, _ in kinds:
        if chosen.get(key) is not None and not chosen[key] > 0:
            raise UserError(f"regularisation.{key}={chosen[key]} must be above 0; null turns it off.")
    with torch.device("cpu"):  # what draws the shares is no part of the network, which may be on the meta device
        wanted = [
            kind(alpha=chosen[key], num_classes=num_classes) for key, kind in kinds if chosen.get(key) is not None
        ]
    return v2.RandomChoice(wanted) if wanted else None


def split_choice(
    group: str, chosen: Mapping[str, Any], names: Sequence[str] | Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Split a config group into its name, which must be one of ``names``, and its keys that are set."""
    if chosen["name"] not in names:
        raise UserError(f"There is no {group} '{chosen['name']}': {suggest(chosen['name'], names)}.")
    return chosen["name"], {key: value for key, value in chosen.items() if key != "name" and value is not None}

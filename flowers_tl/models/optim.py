"""The loss, the optimizer, its learning rates over time, and the mixing of images. The rates are the table's.

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
from flowers_tl.utils.errors import UserError

# The keys that each takes.
SCHEDULES = {"constant": (), "cosine": ("warmup_epochs", "final"), "onecycle": ("pct_start",)}
OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


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


def make_optimizer(groups: Sequence[tuple[ParameterGroup, list[nn.Parameter]]], config: Mapping[str, Any]) -> Optimizer:
    """Build the optimizer with one parameter group for each of ``groups``, named for it.

    Raises:
        UserError: if ``config`` has a key or a value that this optimizer does not take.
    """
    name, arguments = config["name"], options(config)
    accepted = inspect.signature(OPTIMIZERS[name]).parameters
    for key, value in arguments.items():
        if key not in accepted:
            raise UserError(
                f"optimizer.{key}={value} has no effect with {name}: leave it out, or choose another optimizer."
            )
    if len(arguments.get("betas", (0, 0))) != 2:
        raise UserError(f"optimizer.betas={arguments['betas']} must be two numbers, as in [0.9,0.999].")
    if arguments.get("nesterov") and not arguments.get("momentum"):
        raise UserError("optimizer.nesterov=true needs a momentum: set optimizer.momentum, or leave it out.")
    parameters = []
    for group, tensors in groups:
        decay = {} if group.weight_decay is None else {"weight_decay": group.weight_decay}
        parameters.append({"params": tensors, "lr": group.lr, "name": group.name, **decay})
    try:
        return OPTIMIZERS[name](parameters, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} does not accept these optimizer.* values: {error}.") from error


def make_schedule(optimizer: Optimizer, config: Mapping[str, Any], steps: int, steps_per_epoch: float) -> LRScheduler:
    """Build what changes all groups' rates from step to step.

    ``cosine`` rises linearly over ``warmup_epochs`` and falls along half a cosine to ``final`` times the rate (Loshchilov
    and Hutter 2017). ``onecycle`` is PyTorch's, with the table's rates as its peaks (Smith and Topin 2018). A stage that
    unfreezes late begins where the schedule then is.

    Args:
        optimizer: whose rates change.
        config: ``name`` and the keys of this schedule.
        steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
    """
    name, arguments = config["name"], options(config)
    if name == "constant":
        return LambdaLR(optimizer, lambda step: 1.0)
    if not math.isfinite(steps):
        raise UserError(f"scheduler={name} needs a known end of the run: set trainer.max_epochs to a number.")
    if name == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=max(2, steps), pct_start=arguments.get("pct_start", 0.3))
    warmup, final = round(arguments.get("warmup_epochs", 0) * steps_per_epoch), arguments.get("final", 0.0)
    if warmup > steps:
        raise UserError(f"scheduler.warmup_epochs={arguments['warmup_epochs']} is longer than the run: use fewer.")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return final + (1 - final) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2

    return LambdaLR(optimizer, factor)


def make_mixing(config: Mapping[str, Any], num_classes: int) -> nn.Module | None:
    """Return what mixes a batch of (images, labels) into (images, class shares (n, num_classes)); None for nothing.

    With both ``mixup`` (Zhang et al. 2018) and ``cutmix`` (Yun et al. 2019) each batch takes one of them at random.
    """
    # What draws the shares is no part of the network, which may be on the meta device.
    with torch.device("cpu"):
        kinds = [
            kind(alpha=config[key], num_classes=num_classes)
            for key, kind in (("mixup", v2.MixUp), ("cutmix", v2.CutMix))
            if config.get(key) is not None
        ]
    return v2.RandomChoice(kinds) if kinds else None


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config group that are set, but its name."""
    return {key: value for key, value in config.items() if key != "name" and value is not None}

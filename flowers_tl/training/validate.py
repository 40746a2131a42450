"""Configs that no data and no weights could make right end before anything is downloaded, drawn or written."""

from typing import Any

import torch

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.factory import has_validation, make_model
from flowers_tl.utils.errors import UserError


def validate_config(config: dict[str, Any]) -> TransferClassifier:
    """Raise UserError if a value is out of its range, the network can't be built so, or options contradict each other.

    Returns:
        The network for two classes, on the device ``meta``: without memory for its weights.
    """
    validate_ranges(config)
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    solved, precision = model.strategy.head == "solved", str(config["trainer"]["precision"])
    select_by_val = {
        "test_best=true": config["test_best"],
        "strategy.head=solved": solved,
        "regularisation.early_stopping": config["regularisation"]["early_stopping"],
    }
    for key, value in select_by_val.items():
        if value and not has_validation(config):
            raise UserError(
                f"{key} selects by val, which data.protocol=trainval trains on: leave it out, or take the official splits."
            )
    without_steps = solved and not model.groups
    for key, value in config["regularisation"].items() if without_steps else ():
        if key != "name" and value:
            raise UserError(
                f"regularisation.{key}={value} means nothing to strategy={model.strategy.name}, which solves its head without "
                "training steps: leave it out, or choose another strategy."
            )
    if solved and config["data"]["balance"] == "sampler":
        raise UserError(
            "data.balance=sampler means nothing to strategy.head=solved, which takes all images at once: use "
            "data.balance=weights."
        )
    if config["trainer"]["sync_batchnorm"] and (
        config["trainer"]["accelerator"] == "cpu" or not torch.cuda.is_available()
    ):
        raise UserError("trainer.sync_batchnorm=true works on GPUs alone, and here are none: leave it out.")
    cast = precision in ("64", "64-true", "bf16-true", "16-true") or precision.startswith("transformer-engine")
    if cast and not all(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"trainer.precision={precision} casts frozen weights too, which are to stay as they are: take bf16-mixed, which "
            "computes in bfloat16 and keeps them."
        )
    return model

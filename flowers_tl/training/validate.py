"""Configs that no data and no weights could make right end before anything is downloaded, drawn or written."""

from typing import Any

import torch

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.factory import has_validation, make_model
from flowers_tl.utils.errors import UserError


def validate_config(config: dict[str, Any]) -> None:
    """Raise UserError if a value is out of its range, the network can't be built so, or options contradict each other."""
    validate_ranges(config)
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    validate_val_use(config, model)
    validate_balance(config, model)
    validate_precision(config, model)


def validate_val_use(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the run trains on val and an option selects by val."""
    selects = {"test_best=true": config["test_best"], "strategy.head=solved": model.strategy.head == "solved"}
    selects["regularisation.early_stopping"] = config["regularisation"]["early_stopping"]
    if wrong := [key for key, value in selects.items() if value and not has_validation(config)]:
        raise UserError(
            f"{wrong[0]} selects by val, which data.protocol=trainval trains on: leave it out, or take the official splits."
        )


def validate_balance(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the config names an order of images where a head is solved, which takes all of them at once."""
    if config["data"]["balance"] == "sampler" and model.strategy.head == "solved":
        raise UserError(
            "data.balance=sampler means nothing to strategy.head=solved, which takes all images at once: use "
            "data.balance=weights."
        )


def validate_precision(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if all weights would be cast to another precision, and some of them are frozen."""
    precision = str(config["trainer"]["precision"])
    cast = precision in ("64", "64-true", "bf16-true", "16-true") or precision.startswith("transformer-engine")
    if cast and not all(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"trainer.precision={precision} casts frozen weights too, which are to stay as they are: take bf16-mixed, which "
            "computes in bfloat16 and keeps them."
        )

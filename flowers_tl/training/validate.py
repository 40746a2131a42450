"""Configs that no data and no weights could make right end before anything is downloaded, drawn or written."""

from collections.abc import Sequence
from typing import Any

import torch

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.factory import has_validation, make_model
from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.notes import log_note

# Beginnings of the keys that mean nothing where no step is taken.
OF_STEPS = (
    "optimizer", "scheduler", "data.augmentation", "cache.view", "trainer.max_", "trainer.min_", "trainer.accumulate",
    "trainer.gradient", "trainer.limit_train", "trainer.overfit", "trainer.check_val", "trainer.val_check",
)  # fmt: skip


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
    if cast and "16" in precision and config["regularisation"]["ema"]:
        raise UserError(
            f"trainer.precision={precision} rounds away the small steps of regularisation.ema: take bf16-mixed, or leave it out."
        )
    # That of the pretrained weights fits.
    if config["data"]["image_size"] != 224:
        size = f"data.image_size={config['data']['image_size']}"
        probe(model.eval(), 2, f"{size} does not fit {model.backbone.name}", "take 224, or another backbone")
    return model


def validate_last_batch(config: dict[str, Any], model: TransferClassifier, images: int) -> None:
    """Raise UserError if the last batch of ``images`` is a single one, of which a BatchNorm can't take the statistics."""
    trainer = config["trainer"]
    devices = max(1, trainer["devices"]) if isinstance(trainer["devices"], int) else 1
    limited = any(trainer[key] for key in ("limit_train_batches", "overfit_batches", "fast_dev_run"))
    if not limited and (-(-images // devices) - 1) % max(1, config["data"]["batch_size"] // devices) == 0:
        probe(model.train(), 1, f"The last of {images:,} images is a batch alone", "take another data.batch_size")


def probe(model: TransferClassifier, images: int, sentence: str, remedy: str) -> None:
    """Raise UserError, in these words, if the network on the device ``meta`` can't take so many images in its mode."""
    size = model.hparams.image_size
    try:
        with torch.no_grad():
            model(torch.empty(images, 3, size, size, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{sentence} ({first_line(error)}): {remedy}.") from error


def note_without_effect(model: TransferClassifier, given: Sequence[str]) -> None:
    """Tell which of the keys that the user has named change nothing, since the strategy takes no training steps."""
    ignored = [key for key in given if key.startswith(OF_STEPS)]
    if ignored and not model.groups:
        log_note(
            f"strategy={model.strategy.name} solves its head without training steps, and takes nothing from {', '.join(ignored)}."
        )

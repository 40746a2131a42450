"""Configs that can't be right end before anything is drawn, prepared or written, and sweeps before their first job."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from flowers_tl.config.keys import LATER_KEYS, wants_many_heads
from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.registry import make_data
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.optim import SCHEDULES, make_optimizer, make_schedule, options
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.models.recompute import activation_bytes
from flowers_tl.results.scores import read_monitor
from flowers_tl.training.factory import has_validation, make_model, set_up_data
from flowers_tl.training.head_choices import validate_heads
from flowers_tl.training.loggers import logger_names
from flowers_tl.training.trainer import check_arguments, quiet_lightning
from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.files import dumps
from flowers_tl.utils.notes import log_note

# Beginnings of the keys that mean nothing where no step is taken.
OF_STEPS = (
    "optimizer", "scheduler", "data.augmentation", "cache.view", "trainer.max_", "trainer.min_", "trainer.accumulate",
    "trainer.gradient", "trainer.limit_train", "trainer.overfit", "trainer.check_val", "trainer.val_check",
)  # fmt: skip


def validated_data(config: dict[str, Any], prepare: bool = True, named_keys: Sequence[str] = ()) -> ImageDataModule:
    """Validate a config and the weights that it names, and set up its data, see :func:`set_up_data`.

    Raises UserError, where that is possible before any image is read. A note lists ``named_keys`` without effect.
    """
    model = validate_config(config)
    note_without_effect(model, named_keys)
    # Weights may have to be downloaded: what is wrong with the data is told before.
    make_data(config).count_classes()
    validate_weights(config, model)
    data = set_up_data(config, prepare=prepare)
    validate_last_batch(config, model, data.sizes["train"])
    if (most := max(model.strategy.neighbours or [0])) > data.sizes["train"]:
        raise UserError(
            f"strategy.neighbours={most} is more than the {data.sizes['train']:,} training images: use smaller numbers."
        )
    return data


def validate_jobs(jobs: Sequence[tuple[Sequence[str], dict[str, Any]]]) -> None:
    """Raise UserError if there is no job, or an override with which no job can run; a job is its overrides and its config."""
    errors: dict[int, UserError] = {}
    known: set[str] = set()
    for number, (_, config) in enumerate(jobs):
        try:
            model = validate_config(config)
            # Reading weights, or listing a folder of images, takes a while: once is enough.
            sources = dumps([config["data"], config["backbone"], config["strategy"]["weights"]])
            if sources not in known:
                make_data(config).count_classes()
                validate_weights(config, model)
                known.add(sources)
        except UserError as error:
            errors[number] = error
    for override in dict.fromkeys(override for overrides, _ in jobs for override in overrides):
        members = [number for number, (overrides, _) in enumerate(jobs) if override in overrides]
        if all(number in errors for number in members):
            raise errors[members[0]]
    if not jobs:
        raise UserError("The sweep has no job, since a range or a list in it is empty: give each key a value.")


def validate_weights(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the weights that a config names can't be read or do not fit its network, on the device ``meta``."""
    # PyTorch warns of each tensor that it does not copy there.
    with warnings.catch_warnings(action="ignore"):
        load_weights(model.backbone, initial_weights(config))


def validate_config(config: dict[str, Any]) -> TransferClassifier:
    """Raise UserError if a value is out of its range, the network can't be built so, or options contradict each other.

    Returns:
        The network for two classes, on the device ``meta``: without memory for its weights.
    """
    validate_ranges(config)
    read_monitor(config["monitor"])
    logger_names(config["logger"])
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    if wants_many_heads(config):
        validate_heads(config, model)
    validate_trainer(check_arguments(config["trainer"], any(group.from_epoch for group in model.groups)))
    validate_steps(config, model)
    solved, precision = model.strategy.head != "random", str(config["trainer"]["precision"])
    select_by_val = {
        "test_best=true": config["test_best"],
        f"strategy.head={model.strategy.head}": solved,
        "regularisation.early_stopping": config["regularisation"]["early_stopping"],
        f"monitor={config['monitor']}": config["monitor"] != LATER_KEYS["monitor"],
    }
    for key, value in select_by_val.items():
        if value and not has_validation(config):
            raise UserError(
                f"{key} selects by the val images, but data.protocol=trainval trains on val: leave one of them out."
            )
    validate_strategy(config, model)
    if config["trainer"]["sync_batchnorm"] and (
        config["trainer"]["accelerator"] == "cpu" or not torch.cuda.is_available()
    ):
        raise UserError("trainer.sync_batchnorm=true works only on GPUs, and this run uses none: leave it out.")
    cast = precision in ("64", "64-true", "bf16-true", "16-true") or precision.startswith("transformer-engine")
    if cast and not all(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"trainer.precision={precision} would round the frozen weights too: use bf16-mixed, which computes in "
            "bfloat16 and keeps them."
        )
    if cast and "16" in precision and config["regularisation"]["ema"]:
        raise UserError(
            f"trainer.precision={precision} rounds away the small steps of regularisation.ema: use bf16-mixed, or leave ema out."
        )
    if config["compute"]["gradient_checkpointing"]:
        validate_recomputation(config, model)
    # That of the pretrained weights fits.
    if model.hparams.image_size != 224:
        size = f"data.image_size={model.hparams.image_size}"
        check_forward(model.eval(), 2, f"{size} does not fit {model.backbone.name}", "use 224, or another backbone")
    return model


def validate_strategy(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if options have no effect with the strategy's head, or weights are lacking to which it pulls."""
    solved, neighbours = model.strategy.head != "random", model.strategy.head == "neighbours"
    for key, value in config["regularisation"].items() if solved and not model.groups else ():
        if key != "name" and value:
            raise UserError(
                f"regularisation.{key}={value} has no effect with strategy={model.strategy.name}, which takes no training "
                "steps: leave it out, or choose another strategy."
            )
    balance = config["data"]["balance"]
    if solved and balance in ("sampler", *["weights"] * neighbours):
        raise UserError(
            f"data.balance={balance} has no effect with strategy.head={model.strategy.head}, which uses all images "
            f"{'alike: leave it out' if neighbours else 'at once: use data.balance=weights'}."
        )
    if initial_weights(config) is None and any(group.l2_sp for group in model.groups):
        raise UserError(
            f"strategy={model.strategy.name} pulls towards pretrained weights (l2_sp), and backbone.weights=null are random: use others, or "
            "another strategy."
        )


def validate_recomputation(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if gradient checkpointing would save no memory, or can't be had with torch.compile."""
    if config["compute"]["compile"]:
        raise UserError(
            "compute.gradient_checkpointing=true does not work with compute.compile=true: leave one of them out."
        )
    size = model.hparams.image_size
    images = torch.empty(2, 3, size, size, device="meta")
    plain, least = activation_bytes(model.train().backbone, images) if model.groups else (0, 0)
    if least >= plain:
        raise UserError(
            f"compute.gradient_checkpointing=true would save no memory with strategy={model.strategy.name}, which trains too few "
            "stages (only one of them has activations to keep): leave it out, or train more stages."
        )


def validate_last_batch(config: dict[str, Any], model: TransferClassifier, images: int) -> None:
    """Raise UserError if the last batch of ``images`` is a single one, of which a BatchNorm can't take the statistics."""
    trainer = config["trainer"]
    devices = max(1, trainer["devices"]) if isinstance(trainer["devices"], int) else 1
    limited = any(trainer[key] for key in ("limit_train_batches", "overfit_batches", "fast_dev_run"))
    if not limited and (-(-images // devices) - 1) % max(1, config["data"]["batch_size"] // devices) == 0:
        check_forward(
            model.train(), 1, f"The last of {images:,} images is alone in its batch", "use another data.batch_size"
        )


def check_forward(model: TransferClassifier, images: int, sentence: str, remedy: str) -> None:
    """Raise UserError, in these words, if the network on the device ``meta`` can't take so many images in its mode."""
    size = model.hparams.image_size
    try:
        with torch.no_grad():
            model(torch.empty(images, 3, size, size, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{sentence} ({first_line(error)}): {remedy}.") from error


def note_without_effect(model: TransferClassifier, named_keys: Sequence[str]) -> None:
    """Tell which of the keys that the user has named change nothing, since the strategy takes no training steps."""
    unused = (*OF_STEPS, "data.flip") if model.strategy.head == "neighbours" else OF_STEPS
    ignored = [key for key in named_keys if key.startswith(unused)]
    if ignored and not model.groups:
        log_note(
            f"strategy={model.strategy.name} takes no training steps, so these have no effect: {', '.join(ignored)}."
        )


def validate_steps(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the optimizer or the schedule can't be made of what the config says."""
    schedule = config["scheduler"]["name"]
    for key, value in options(config["scheduler"]).items() if config["ckpt_path"] is None else ():
        if key not in SCHEDULES[schedule]:
            raise UserError(
                f"scheduler.{key}={value} has no effect with {schedule}: leave it out, or choose another scheduler."
            )
    if model.groups:
        # Only a check: Lightning asks the module for the real optimizer. Its device, and so whether it can be fused, is not known yet.
        optimizer = make_optimizer(model.parameters_by_group(), config["optimizer"] | {"fused": None})
        make_schedule(optimizer, config["scheduler"], config["trainer"]["max_epochs"], 1)


def validate_trainer(arguments: dict[str, Any]) -> None:
    """Raise UserError if Lightning's Trainer refuses its arguments; the sentence names the first that it refuses alone."""

    def refusal(arguments: dict[str, Any]) -> Exception | None:
        try:
            Trainer(**arguments, logger=False, enable_checkpointing=False)
        except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
            return error
        return None

    # What it says of right ones it says when the run makes its Trainer.
    with quiet_lightning(logging.ERROR), warnings.catch_warnings(action="ignore"):
        if error := refusal(arguments):
            alone = ((f"trainer.{key}={value}", refusal({key: value})) for key, value in arguments.items())
            named, reason = next((one for one in alone if one[1]), ("This choice of trainer.*", error))
            raise UserError(f"{named} can't be used ({first_line(reason or error)}): choose another value.") from error

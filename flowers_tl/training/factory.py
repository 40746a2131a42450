"""Build the parts of a run from its plain config: cache, data, network, and the data behind the frozen prefix."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.registry import make_data
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.splits import SPLITS
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.models.strategy import ParameterGroup
from flowers_tl.runs.record import versions
from flowers_tl.training.feature_data import FeatureDataModule, RunData
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import names_below


def make_cache(config: Mapping[str, Any]) -> Cache | None:
    """Build the cache that the config names; None where it is turned off."""
    options = config["cache"]
    if not options["enabled"]:
        return None
    return Cache(options["dir"], options["max_gb"], config["trainer"]["enable_progress_bar"])


def set_up_data(config: Mapping[str, Any], unsplit: bool = False, prepare: bool = True) -> ImageDataModule:
    """Build the data module that the config names and set it up.

    Args:
        config: of the run.
        unsplit: leave the splits as the data have them.
        prepare: download or draw what is missing into data.root; False where only a record names that folder.
    """
    data = make_data(with_preprocessing(config), make_cache(config))
    data.unsplit = unsplit
    if prepare:
        # Downloading or drawing images is done once for all runs: the cold seconds of this one are without it.
        with data.clock.timed(entry="data"):
            data.prepare_data()
    try:
        data.setup()
    except (OSError, RuntimeError) as error:
        if prepare:
            raise
        raise UserError(
            f"The images of the network's run are not in {data.root}: give their folder with data.root=DIR."
        ) from error
    return data


def has_validation(config: dict[str, Any]) -> bool:
    """Whether val is measured: not where it is trained on."""
    return config["data"]["protocol"] != "trainval"


def prepare_run_data(
    config: dict[str, Any], data: ImageDataModule, model: TransferClassifier, trainer: Trainer, first_epoch: int
) -> RunData:
    """The data as the network takes them: behind the frozen prefix, where the strategy leaves one and the cache is on."""
    if data.cache is None:
        return data
    limits = config["trainer"]
    whole = not limits["fast_dev_run"] and not limits["overfit_batches"]
    measured = SPLITS if has_validation(config) else ("train", "test")
    # The number 1.0 is all batches, and 1 is one.
    kept_splits = [split for split in measured if whole and str(limits[f"limit_{split}_batches"]) in ("None", "1.0")]
    epochs = trainer.max_epochs if model.groups else 0
    run_data = FeatureDataModule(data, model, trainer, epochs, config["cache"], first_epoch, kept_splits)
    return run_data if any(run_data.entry_stages) or model.strategy.head != "random" else data


def frozen_features(config: dict[str, Any], data: ImageDataModule, trainer: Trainer) -> FeatureDataModule:
    """The images behind the whole pretrained network, without a run. The network is in eval mode: nothing changes it."""
    model = initial_model(config, data).eval()
    load_weights(model.backbone, initial_weights(config))
    return FeatureDataModule(data, model, trainer, 0, config["cache"])


def prepare_features(data: RunData, *splits: str) -> None:
    """Compute now, counted as the phase ``prefix``, what the cache keeps of the splits."""
    if isinstance(data, FeatureDataModule):
        data.prepare(*splits)


def make_model(
    config: dict[str, Any],
    num_classes: int,
    class_names: list[str] | None = None,
    class_weights: list[float] | None = None,
) -> TransferClassifier:
    """Build the network that the config names, with random weights; raise UserError if a stage would begin after the run."""
    config = with_preprocessing(config)
    model = TransferClassifier(
        backbone=config["backbone"]["name"],
        num_classes=num_classes,
        strategy=config["strategy"],
        class_names=class_names or [],
        image_size=config["data"]["image_size"],
        preprocessing=config["backbone"]["preprocessing"] | {"fit": config["data"]["fit"]},
        class_weights=class_weights,
        seed=config["seed"],
        **{group: config[group] for group in ("optimizer", "scheduler", "regularisation")},
    )
    epochs = config["trainer"]["max_epochs"]
    if epochs >= 1 and not config["trainer"]["fast_dev_run"]:
        validate_start_epochs(config["strategy"]["name"], model.groups, epochs)
    return model


def initial_model(config: dict[str, Any], data: ImageDataModule) -> TransferClassifier:
    """The network as a run with this config begins, but for the pretrained weights, which leave the head as it is."""
    torch.manual_seed(derive_seed(config["seed"]))
    return make_model(config, data.num_classes, data.class_names, data.class_weights)


def describe_run(
    config: dict[str, Any],
    model: TransferClassifier,
    data: ImageDataModule,
    run_data: RunData,
) -> dict[str, Any]:
    """What ``result.json`` says of a run before it has trained; ``run_data`` is the data as the network takes them."""
    images = {"name": data.name, "root": str(data.root.resolve())} | data.sizes | {"cut": sorted(data.cut_splits)}
    if data.value_range:
        images["value_range"] = list(data.value_range)
    if data.left_out:
        images["left_out"] = names_below(data.left_out, data.root)
    if data.excluded:
        images["excluded"] = data.excluded
    return {
        "strategy": config["strategy"]["name"],
        "learning_rates": {group.name: group.lr for group, _ in model.parameters_by_group()},
        "backbone": config["backbone"]["name"],
        "weights": initial_weights(config) or "random",
        "preprocessing": {"image_size": data.image_size, **model.hparams.preprocessing, **model.backbone.positions},
        "seed": config["seed"],
        "epochs": config["trainer"]["max_epochs"] if model.groups else 0,
        "parameters": model.parameter_counts,
        "data": images,
        "versions": versions(),
        "prefix": run_data.summary if isinstance(run_data, FeatureDataModule) else None,
    }


def validate_start_epochs(strategy: str, groups: Sequence[ParameterGroup], epochs: int) -> None:
    """Raise UserError if the training of a group would begin only after the run's last epoch."""
    last = max((group.from_epoch for group in groups), default=0)
    for group in groups:
        if group.from_epoch >= epochs:
            raise UserError(
                f"Strategy '{strategy}' trains {group.name} from epoch {group.from_epoch} on (counted from 0), but the run has "
                f"{epochs} epochs: set trainer.max_epochs to {last + 1} or more, or a smaller from_epoch or every."
            )

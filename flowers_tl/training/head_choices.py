"""Which heads a config names, and whether many heads can do what it says."""

import copy
import math
from dataclasses import dataclass, field
from inspect import signature
from itertools import product
from typing import Any

from lightning.pytorch import Trainer

from flowers_tl.config.keys import ONE_HEAD
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.divergence import Diverged
from flowers_tl.training.factory import has_validation
from flowers_tl.utils.errors import UserError

# What a user may set under trainer and still train many heads: the rest would have to be done here again.
SUPPORTED_TRAINER_KEYS = (
    "max_epochs", "accelerator", "deterministic", "enable_progress_bar", "gradient_clip_val", "gradient_clip_algorithm",
    "log_every_n_steps", "enable_model_summary", "num_sanity_val_steps", "inference_mode", "benchmark",
)  # fmt: skip


@dataclass
class Head:
    """One of the heads: name of its folder, config of the run that trains it alone, its results, and how it diverged."""

    name: str
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    diverged: Diverged | None = None

    def check(self, what: str, number: float, step: int = 0, epoch: int = 0, rate: float = 0.0) -> None:
        """Note that the head has diverged, if the ``number`` is not finite and none was before."""
        if not math.isfinite(number) and self.diverged is None:
            self.diverged = Diverged(what, step, epoch, {"head": rate}, "of many heads no checkpoint is kept")


def validate_heads(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the config does not make sense for many heads."""
    options, strategy = config["heads"], model.strategy
    for key in ("lr", "weight_decay"):
        if options[key] is not None and not 0 < len(set(options[key])) == len(options[key]):
            raise UserError(f"heads.{key}={options[key]} must be a list of different values.")
    solved = strategy.head == "solved" and not model.groups
    if solved and (options["lr"] is not None or options["seeds"] > 1):
        raise UserError(
            f"A solved head has no learning rate and does not depend on the seed: for strategy={strategy.name} leave out "
            "heads.lr and heads.seeds."
        )
    head_only = len(strategy.table) == 1 and [(g.stages, g.from_epoch) for g in model.groups] == [(("head",), 0)]
    plain = strategy.head == "random" and strategy.frozen_batchnorm == "eval"
    if not (solved or (head_only and plain and not strategy.table[0].only)):
        raise UserError(
            f"Many heads need a strategy that trains the whole head from the first epoch and nothing else, but "
            f"{strategy.name} does not: choose feature_extraction or linear_probe, or use -m instead of heads.*."
        )
    if options["seeds"] > 1 and (strategy.weights == "random" or config["backbone"]["weights"] is None):
        raise UserError(
            "Heads of several seeds share one backbone, but random backbones differ by seed: set backbone.weights, or "
            "leave out heads.seeds."
        )
    if not config["cache"]["enabled"] or config["cache"]["views"] is None:
        raise UserError("Many heads learn from cached features: set cache.enabled=true, and cache.views to a number.")
    for key, value in ignored_options(config).items():
        raise UserError(f"{key}={value} does not work with many heads: leave it out, or use -m instead of heads.*.")


def ignored_options(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config, with their values, that would change a run of one head and change nothing for many."""
    defaults = {key: parameter.default for key, parameter in signature(Trainer).parameters.items()} | {"devices": 1}
    trainer = config["trainer"].items()
    ignored = {
        f"trainer.{k}": v for k, v in trainer if k not in SUPPORTED_TRAINER_KEYS and v not in (None, defaults[k])
    }
    for key in ("mixup", "cutmix", "ema", "early_stopping"):
        if config["regularisation"][key] is not None:
            ignored[f"regularisation.{key}"] = config["regularisation"][key]
    ignored |= {key: config[key] for key in ("test_best", "ckpt_path") if config[key]}
    return ignored | ({} if has_validation(config) else {"data.protocol": config["data"]["protocol"]})


def head_configs(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """For each head, seed by seed, its name and the config with which a run of this head alone gives the same."""
    options, heads = config["heads"], []
    seeds = range(config["seed"], config["seed"] + options["seeds"])
    for seed, lr, decay in product(seeds, options["lr"] or [None], options["weight_decay"] or [None]):
        single = copy.deepcopy(config) | {"heads": ONE_HEAD, "seed": seed}
        if single["cache"]["view_seed"] is None and options["seeds"] > 1:
            single["cache"]["view_seed"] = config["seed"]
        named = {key: value for key, value in (("lr", lr), ("weight_decay", decay)) if value is not None}
        for row in single["strategy"]["table"]:
            row |= named
        # A solved head has no row: the candidates for its decay are this one.
        if not single["strategy"]["table"]:
            single["heads"] = ONE_HEAD | {"weight_decay": [decay]}
        heads.append((",".join(f"{key}={short(value)}" for key, value in (named | {"seed": seed}).items()), single))
    return heads


def short(value: float) -> str:
    """A number in the fewest digits that distinguish it from all others: 0.001, 1e-05, 0."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)

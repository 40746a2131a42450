"""Which heads a config asks for, and whether many heads can do what it says."""

import copy
import math
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from flowers_tl.config.schema import TrainerConfig
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.divergence import Diverged
from flowers_tl.training.factory import has_validation
from flowers_tl.utils.errors import UserError

# What a user may set under trainer and still train many heads: the rest would have to be done here again.
OBEYED = (
    "max_epochs", "accelerator", "deterministic", "enable_progress_bar", "gradient_clip_val", "gradient_clip_algorithm",
    "log_every_n_steps", "enable_model_summary", "num_sanity_val_steps", "inference_mode", "benchmark",
)  # fmt: skip


@dataclass
class Head:
    """One of the heads: the folder it is recorded in, the config of its own run, what is found out of it, and how it diverged."""

    name: str
    config: dict[str, Any]
    history: list[dict[str, float]]
    result: dict[str, Any]
    diverged: Diverged | None = None

    def check(self, what: str, number: float, step: int = 0, epoch: int = 0, rate: float = 0.0) -> None:
        """Know from now on that the head has diverged, if the ``number`` is not finite; its first step is known best."""
        if not math.isfinite(number) and self.diverged is None:
            self.diverged = Diverged(what, step, epoch, {"head": rate}, "of many heads no checkpoint is kept")


def wants_many_heads(config: dict[str, Any]) -> bool:
    """Whether the config asks for many heads."""
    chosen = config["heads"]
    return chosen["lr"] is not None or chosen["weight_decay"] is not None or chosen["seeds"] != 1


def validate_heads(config: dict[str, Any], model: TransferClassifier) -> None:
    """Raise UserError if the config does not make sense for many heads."""
    chosen, strategy = config["heads"], model.strategy
    for key in ("lr", "weight_decay"):
        if chosen[key] is not None and (not chosen[key] or len(set(chosen[key])) < len(chosen[key])):
            raise UserError(f"heads.{key}={chosen[key]} must be a list of different values.")
    if chosen["seeds"] < 1:
        raise UserError(f"heads.seeds={chosen['seeds']} must be at least 1.")
    if not all(math.isfinite(lr) and lr > 0 for lr in chosen["lr"] or ()):
        raise UserError(f"heads.lr={chosen['lr']}: each rate must be above 0.")
    if not all(math.isfinite(decay) and decay >= 0 for decay in chosen["weight_decay"] or ()):
        raise UserError(f"heads.weight_decay={chosen['weight_decay']}: none may be below 0.")
    solved = strategy.head == "solved" and not model.groups
    if solved and (chosen["lr"] is not None or chosen["seeds"] > 1):
        raise UserError(
            f"A head that is solved has no learning rate and no chance in it: for strategy={strategy.name} leave out "
            "heads.lr and heads.seeds."
        )
    if not solved and config["trainer"]["max_epochs"] < 1:
        raise UserError(f"trainer.max_epochs={config['trainer']['max_epochs']} trains no head: it must be at least 1.")
    alone = len(strategy.table) == 1 and [(g.stages, g.from_epoch) for g in model.groups] == [(("head",), 0)]
    whole = alone and not strategy.table[0].only and strategy.head == "random" and strategy.frozen_batchnorm == "eval"
    if not (solved or whole):
        raise UserError(
            f"Many heads need a strategy by which all of the head learns from the first epoch on, and nothing else; "
            f"{strategy.name} is none: choose feature_extraction or linear_probe, or run it with -m."
        )
    if chosen["seeds"] > 1 and (strategy.weights == "random" or config["backbone"]["weights"] is None):
        raise UserError(
            "Heads of several seeds need one backbone, and random backbones differ by seed: name backbone.weights, or "
            "leave out heads.seeds."
        )
    if not config["cache"]["enabled"] or config["cache"]["views"] is None:
        raise UserError("Many heads learn from kept features: set cache.enabled=true and a number of cache.views.")
    plain = {field.name: field.default for field in fields(TrainerConfig)}
    idle = {f"trainer.{key}": config["trainer"][key] for key in plain if config["trainer"][key] != plain[key]}
    idle = {key: value for key, value in idle.items() if key.removeprefix("trainer.") not in OBEYED}
    for key in ("mixup", "cutmix", "ema", "early_stopping"):
        if config["regularisation"][key] is not None:
            idle[f"regularisation.{key}"] = config["regularisation"][key]
    idle |= {key: config[key] for key in ("test_best", "ckpt_path") if config[key]}
    idle |= {} if has_validation(config) else {"data.protocol": config["data"]["protocol"]}
    if idle:
        key, value = next(iter(idle.items()))
        raise UserError(f"{key}={value} can't be done for many heads at once: leave it out, or run them with -m.")


def head_configs(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """For each head, seed by seed, its name and the config with which a run of its own gives the same."""
    chosen, found = config["heads"], []
    none = {"lr": None, "weight_decay": None, "seeds": 1}
    for seed, lr, decay in product(
        range(config["seed"], config["seed"] + chosen["seeds"]),
        chosen["lr"] or [None],
        chosen["weight_decay"] or [None],
    ):
        own = copy.deepcopy(config) | {"heads": none, "seed": seed}
        if own["cache"]["view_seed"] is None and chosen["seeds"] > 1:
            own["cache"]["view_seed"] = config["seed"]
        parts = {"lr": lr, "weight_decay": decay} if own["strategy"]["table"] else {}
        for row in own["strategy"]["table"]:
            row |= {key: value for key, value in parts.items() if value is not None}
        if not parts:  # a solved head has no row: the candidates for its decay are this one
            parts, own["heads"] = {"weight_decay": decay}, none | {"weight_decay": [decay]}
        named = {key: value for key, value in parts.items() if value is not None} | {"seed": seed}
        found.append((",".join(f"{key}={short(value)}" for key, value in named.items()), own))
    return found


def short(value: float) -> str:
    """A number as few digits tell it from all others: 0.001, 1e-05, 0."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)

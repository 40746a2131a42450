"""The keys of a config, for everybody who reads one: without Hydra."""

from collections.abc import Mapping
from copy import deepcopy
from functools import reduce
from typing import Any

from flowers_tl.utils.errors import UserError

# Keys on which no result depends.
KEYS_WITHOUT_EFFECT = (
    "test_best",
    "proof",
    "ckpt_path",
    "print_strategy",
    "runs",
    "force",
    "compute.gradient_checkpointing",
    "logger",
    "data.root",
    "data.file",
    "data.num_workers",
    "data.strict",
    "cache.dir",
    "cache.max_gb",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
)

# How the article prepares images, and so how all did before the weights decided.
ARTICLE = {
    "resize": 256,
    "crop": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}

# Keys that came after version 0.1.0, with the values that earlier runs had. They enter a run's id only where they differ from
# them, so that a run keeps its id when a key is added; a config that was written before has them at these values.
LATER_KEYS: dict[str, Any] = {
    "compute.gradient_checkpointing": False,
    "logger": "tensorboard",
    "monitor": "val/accuracy",
    "data.value_range": None,
    "data.fit": "crop",
    "data.flip": "horizontal",
    "data.exclude": None,
    "data.groups": None,
    "data.folds": None,
    "data.fold": 0,
    "backbone.preprocessing": ARTICLE,
    "strategy.head_from": None,
    "strategy.neighbours": None,
}

# Of these, the keys of data sets that may have no splits of their own.
CUTTING_KEYS = ("data.groups", "data.folds", "data.fold")

# And those of a strategy's rows.
LATER_ROW_KEYS: dict[str, Any] = {"adapter": None, "rank": None, "alpha": None, "layers": None, "l2_sp": None}

# What ``heads`` says in the config of a run of one head.
ONE_HEAD = {"lr": None, "weight_decay": None, "seeds": 1}


def wants_many_heads(config: Mapping[str, Any]) -> bool:
    """Whether the config names many heads."""
    return config["heads"] != ONE_HEAD


def validate_conflicts(config: Mapping[str, Any], conflicts: dict[str, bool], where: str) -> None:
    """Raise UserError for a key whose value conflicts with the command that makes many runs of a config and judges them by val."""
    conflicts |= {
        "trainer.limit_test_batches": config["trainer"]["limit_test_batches"] is not None,
        "data.protocol": config["data"].get("protocol") == "trainval",
        "heads": wants_many_heads(config),
        **{key: bool(config[key]) for key in ("test_best", "ckpt_path", "print_strategy")},
    }
    for key in (key for key, conflict in conflicts.items() if conflict):
        raise UserError(f"{key} can't be set {where}: leave it out.")


def add_later_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Add to a config of an earlier version the keys that it lacks, with their defaults."""
    for key, default in LATER_KEYS.items():
        if key in CUTTING_KEYS and "test_fraction" not in config.get("data", {}):
            continue
        *groups, name = key.split(".")
        reduce(lambda part, group: part.setdefault(group, {}), groups, config).setdefault(name, deepcopy(default))
    for row in config.get("strategy", {}).get("table", ()):
        row |= LATER_ROW_KEYS | row
    return config


def is_later_default(key: str, value: Any) -> bool:
    """Whether a flat key came after version 0.1.0 and has the value that earlier runs had."""
    later = flatten(LATER_KEYS)
    row, _, name = key.removeprefix("strategy.table.").partition(".")
    if row.isdecimal() and name in LATER_ROW_KEYS:
        return value == LATER_ROW_KEYS[name]
    return key in later and value == later[key]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping with dotted keys."""
    if not isinstance(value, Mapping | list):
        return {prefix: value}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat

"""Configs composed from ``conf/`` beside Hydra's own run, as plain Python."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from flowers_tl.config.hydra_errors import COMPOSE_ERRORS, explain_error
from flowers_tl.config.ranges import validate_ranges, validate_switches
from flowers_tl.config.schema import CONF, TrainConfig
from flowers_tl.utils.errors import UserError, validate_not_empty


@contextmanager
def hydra_initialized() -> Iterator[GlobalHydra]:
    """Let Hydra know ``conf/``. Raises UserError where something can't be composed within."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield GlobalHydra.instance()
    except COMPOSE_ERRORS as error:
        raise UserError(explain_error(error)) from error


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose ``conf/train.yaml`` with overrides. Raises UserError where that can't be done."""
    validate_overrides(overrides)
    with hydra_initialized():
        config = to_plain(compose("train", overrides=list(overrides)), overrides)
    validate_not_empty(config)
    return config


def validate_overrides(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that takes a key away, or that says nothing: Hydra would take the default."""
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        if (word.startswith("~") and not key.startswith("hydra")) or re.search(r"(^|,)\s*\{\s*\}\s*(,|$)", value):
            raise UserError(
                f"{word} leaves {key} without a value: give it one, as in strategy=fine_tuning, or leave the word out for the default."
            )


def own_choices(config_dir: Path | None) -> list[str]:
    """The override with which Hydra also finds the yaml files in a user's folder. Raises UserError if it is none."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir={config_dir} is no folder: use one with your own strategies.")
    return [f"hydra.searchpath=['{Path(config_dir).absolute()}']"] if config_dir else []


def to_plain(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The config that the overrides have composed as plain Python, every key present.

    Raises:
        OmegaConfBaseException: for a key that the schema does not know.
        UserError: for a value that is out of its range.
    """
    plain = OmegaConf.to_container(without_hydra(config), resolve=True, throw_on_missing=True)
    # Hydra lets `+key=value` through.
    OmegaConf.merge(OmegaConf.structured(TrainConfig), plain)
    validate_switches(plain, overrides)
    validate_ranges(plain)
    return plain


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a composed config without Hydra's own part, some of which only a job can resolve."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

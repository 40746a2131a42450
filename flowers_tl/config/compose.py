"""Configs composed from ``conf/`` beside Hydra's own run, as plain Python."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    with hydra_initialized():
        config = to_plain(compose("train", overrides=list(overrides)), overrides)
    validate_not_empty(config)
    return config


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

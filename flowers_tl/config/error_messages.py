"""What went wrong, in one sentence; command lines and configs as Hydra reads them."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from flowers_tl.config.schema import CONF, TrainConfig
from flowers_tl.utils.errors import UserError, first_line, print_error, suggest, validate_not_empty

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, UserError)
MULTIRUN = ("-m", "--multirun")
FLAGS_WITH_VALUE = [
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
]


def explain_error(error: Exception) -> str:
    """Put an error into a sentence: what Hydra refused with the nearest right name, anything else with its own words."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
        return f"{error}: check the path, or name another folder for the run with hydra.run.dir=DIR."
    if not isinstance(error, COMPOSE_ERRORS):
        text = first_line(str(error) or "no message")
        return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where it came from)."
    if "Ambiguous value" in str(error):
        return f"{first_line(str(error))}: -m runs a job for each value."
    if isinstance(error, MissingConfigException) and "launcher/submitit" in str(error) and not find_spec("submitit"):
        return "Slurm's launcher needs submitit: pip install 'flowers_tl[sweep]'."
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"There is no {group} '{choice}': {suggest(choice, error.options)}."
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' can't be read as key=value: put a value that holds '=', commas, brackets or spaces into "
            "quotes of its own, as in \"key='a value'\"."
        )
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and is_dataclass(cause.object_type):
        return unknown_key(cause.full_key, cause.object_type)
    if found := re.search(r"Could not override '([^']+)'", str(error)):
        return unknown_key(found[1], TrainConfig)
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {first_line(str(cause))}."
    return f"{first_line(str(error))}."


def unknown_key(key: str, schema: type) -> str:
    """Say that a part of the config has no such key, and which it has."""
    key = re.sub(r"\[(\d+)\]", r".\1", key)  # a row is table[0] in OmegaConf's words, table.0 on the command line
    prefix = key[: key.rfind(".") + 1]
    return f"There is no key '{key}': {suggest(key, [prefix + field.name for field in fields(schema)])}."


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags (with their values) and the overrides."""
    flags, overrides, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        (flags if argument.startswith("-") else overrides).append(argument)
        if argument in FLAGS_WITH_VALUE and rest:
            flags.append(rest.pop(0))
    return flags, overrides


def compose_config(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config beside Hydra's own run; raise UserError if it holds an empty value."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(config_name, overrides=list(overrides))
    validate_not_empty(OmegaConf.to_container(config))
    return config


class EmptyValues(Callback):
    """Hydra's callback: a command whose config, folders or sweep hold an empty value ends before Hydra makes a folder."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            task = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
            try:
                chosen = OmegaConf.to_container(task, resolve=True)
            except OmegaConfBaseException:  # the job itself will say so, or it holds what only the job knows
                chosen = OmegaConf.to_container(task)
            folders = {key: OmegaConf.to_container(config.hydra[key]) for key in ("run", "sweep")}
            validate_not_empty(chosen | {f"hydra.{key}": folder for key, folder in folders.items()})
            overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
            for override in overrides:
                if override.is_discrete_sweep():
                    values = [value.strip("'\"") for value in override.sweep_string_iterator()]
                    validate_not_empty(values, override.get_key_element())
        except UserError as error:
            print_error(error)
            raise SystemExit(1) from None  # of other exceptions Hydra makes warnings

    on_multirun_start = on_run_start

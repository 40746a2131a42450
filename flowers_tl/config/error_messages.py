"""Errors of a config, each in one sentence that names the key or the choice and the nearest right one."""

import re
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from flowers_tl.config.schema import TrainConfig
from flowers_tl.utils.errors import UserError, first_line, suggest

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def explain_error(error: Exception, path_remedy: str = "check the path") -> str:
    """Put an error into a sentence: of Hydra's with the nearest right name, any other with its message.

    Args:
        error: any.
        path_remedy: what the user can do where the operating system can't read or write a path.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
        return f"{error}: {path_remedy}."
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
    if match := re.search(r"Could not override '([^']+)'", str(error)):
        return unknown_key(match[1], TrainConfig)
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {first_line(str(cause))}."
    return f"{first_line(str(error))}."


def unknown_key(key: str, schema: Any) -> str:
    """Say that a part of the config has no such key, and which it has."""
    # A row is table[0] in OmegaConf's words, table.0 on the command line.
    key = re.sub(r"\[(\d+)\]", r".\1", key)
    prefix = key[: key.rfind(".") + 1]
    return f"There is no key '{key}': {suggest(key, [prefix + field.name for field in fields(schema)])}."

"""Errors of a config, each in one sentence that names the key or the choice and the nearest right one."""

import re
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from flowers_tl.config.data_schema import schema_fields
from flowers_tl.config.schema import TrainConfig
from flowers_tl.utils.errors import UserError, first_line, how_to_install, suggest

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)
# What OmegaConf says of a value of the wrong type, and what we say behind the key.
TYPES = {
    "to Integer": "must be a whole number",
    "to Float": "must be a number",
    "valid bool": "must be true or false",
    "not Optional": "must have a value, and null is none",
    "not a ListConfig": "must be a list, as in [0.9,0.99]",
    "subclass of RowConfig": "is no row of the table: rows are counted from 0",
    "is not a subclass": "has keys below it: set one of them",
}


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
    if "Config group override must be" in str(error):
        return "A choice must be a name, as in strategy=fine_tuning: --help lists the choices."
    # OmegaConf counts a list's items, and meets a name where a number must be.
    if (match := re.fullmatch(r"(?:invalid literal for int.*: |Index )'(.*?)'.*", str(error))) and in_omegaconf(error):
        return f"'{match[1]}' is no row of the table: rows are counted from 0, as in strategy.table.0.lr=1e-3."
    if not isinstance(error, COMPOSE_ERRORS):
        text = first_line(str(error) or "no message")
        return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where it came from)."
    if "Ambiguous value" in str(error):
        return f"{first_line(str(error))}: add -m to run a job for each value."
    if isinstance(error, MissingConfigException) and "launcher/submitit" in str(error) and not find_spec("submitit"):
        return f"Slurm's launcher needs submitit: {how_to_install('sweep')}."
    if isinstance(error, MissingConfigException) and error.options is not None:
        _, group, choice = re.split(r"^((?:hydra/)?[^/]*)/", error.missing_cfg_file or "/", maxsplit=1)
        advice = {
            "data": "; data=folder data.root=DIR reads your own images",
            "backbone": "; backbone=timm/NAME is any network of timm",
        }.get(group, "")
        kind = "data set" if group == "data" else group
        return f"There is no {kind} '{choice}': {suggest(choice, error.options)}{advice}."
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' can't be read as key=value: a value with '=', commas, brackets or spaces needs quotes within "
            "the shell's quotes, as in \"key='a value'\"."
        )
    if "does not support sweep type" in str(error):
        return "An interval is for python -m flowers_tl.search: with -m give values, as in key=1,2 or key=range(3)."
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and is_dataclass(cause.object_type):
        return unknown_key(cause.full_key, cause.object_type)
    if match := re.search(r"Could not override '([^']+)'", str(error)):
        return unknown_key(match[1], TrainConfig)
    if isinstance(cause, OmegaConfBaseException):
        key, text = as_on_command_line(str(cause.full_key)), first_line(str(cause))
        value = re.search(r"Value '(.*?)'", text)
        for words, ours in TYPES.items():
            if words in text:
                return f"{key}{f'={value[1]}' if value else ''} {ours}."
        return f"{key}: {text}."
    return f"{first_line(str(error))}."


def in_omegaconf(error: Exception) -> bool:
    """Say whether OmegaConf's own code raised the error."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith("omegaconf.")


def unknown_key(key: str, schema: Any) -> str:
    """Say that a part of the config has no such key, and which it has."""
    key = as_on_command_line(key)
    if key.startswith("hydra."):
        return f"There is no key '{key}': --cfg hydra prints those that there are."
    prefix, name = key[: key.rfind(".") + 1], key.rpartition(".")[2]
    # data.batch_size for batch_size, trainer.max_epochs for epochs.
    meant = [other for other, *_ in schema_fields(TrainConfig) if other.endswith((f".{name}", f"_{name}"))]
    if meant := [other for other in meant if other.startswith(prefix)] or meant:
        return f"There is no key '{key}': did you mean {' or '.join(meant[:4])}? --help lists all keys."
    return f"There is no key '{key}': {suggest(key, [prefix + field.name for field in fields(schema)])}."


def as_on_command_line(key: str) -> str:
    """A key of OmegaConf, to which a row is table[0], as it is typed: table.0."""
    return re.sub(r"\[(\d+)\]", r".\1", key)

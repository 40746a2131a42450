"""Why Hydra refused a command line, in one sentence, and what remains of a sweep without its refused choices."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from flowers_tl.config import CONF, TrainConfig
from flowers_tl.errors import suggest

REFUSALS = (HydraException, OmegaConfBaseException)


def explain(error: Exception) -> str:
    """Put one of :data:`REFUSALS` into a sentence that names the key or choice, and the nearest right one."""
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


def without_refused_choices(argv: Sequence[str], config_name: str) -> tuple[list[str], list[str] | None]:
    """Try each choice of a sweep by itself; return a sentence for each that is refused, and the command line without them.

    The command line is None where nothing is left to run, or no single choice is to blame.
    """
    try:
        flags = [argument for argument in argv[1:] if argument.startswith("-")]
        overrides = OverridesParser.create().parse_overrides([a for a in argv[1:] if not a.startswith("-")])
        swept = [override for override in overrides if override.is_discrete_sweep()]
        fixed = [override.input_line for override in overrides if override not in swept]
        compose_plain(config_name, fixed)
    except REFUSALS:
        return [], None
    sentences, remaining = [], []
    for override in swept:
        key, kept = override.get_key_element(), []
        for value in override.sweep_string_iterator():
            try:
                compose_plain(config_name, [*fixed, f"{key}={value}"])
                kept.append(value)
            except REFUSALS as error:
                sentences.append(explain(error))
        if not kept:
            return sentences, None
        remaining.append(f"{key}={','.join(str(value) for value in kept)}")
    return sentences, [argv[0], *flags, *fixed, *remaining] if sentences else None


def compose_plain(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config beside Hydra's own run."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".")

"""Why Hydra refused a command line, in one sentence, and what remains of a sweep without its refused choices."""

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowers_tl.config import CONF
from flowers_tl.errors import suggest

REFUSALS = (HydraException, OmegaConfBaseException)


def explain(error: Exception, config_name: str, arguments: Sequence[str] = ()) -> str:
    """Put one of :data:`REFUSALS` into a sentence that names the key or choice, and the nearest right one."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"There is no {group} '{choice}': {suggest(choice, error.options)}."
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' can't be read as key=value: put a value that holds '=', commas, brackets or spaces into "
            "quotes of its own, as in \"key='a value'\"."
        )
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text):
        key = re.sub(r"\[(\d+)\]", r".\1", found[1])
        if re.search(r"Key '[^']+' (is not in struct|not in)|No match in the defaults list|Could not override", text):
            return f"There is no key '{key}': {suggest_key(key, config_name, arguments)}."
        return f"{key}: {first_line(str(error.__cause__ or error))}."
    return first_line(text)


def suggest_key(key: str, config_name: str, arguments: Sequence[str]) -> str:
    """Name the key nearest to ``key``, and those that are known beside it."""
    choices = [a for a in arguments if re.fullmatch(r"(data|strategy|backbone|experiment)=\w+", a)]
    try:
        config = compose_plain(config_name, choices)
    except REFUSALS:
        config = compose_plain(config_name, [])
    prefix = key[: key.rfind(".") + 1]
    beside = OmegaConf.select(config, prefix.rstrip(".")) if prefix else config
    if not isinstance(beside, DictConfig):
        prefix, beside = "", config
    return suggest(key, [f"{prefix}{name}" for name in beside])


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
                sentences.append(explain(error, config_name, fixed))
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

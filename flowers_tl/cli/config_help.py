"""The help of a command that Hydra composes: the choices in ``conf/`` and every key of the schema with its meaning."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import omegaconf
from hydra.core.config_store import ConfigStore

from flowers_tl.cli.options import FLAGS, as_typed, field_docstrings, format_help
from flowers_tl.config import data_schema
from flowers_tl.config.schema import CONF, TrainConfig

REPEATED = "Of a key that is named twice the last value counts."
HYDRA_FLAGS = (
    ("-m, --multirun", "One run for each combination of values, as in seed=0,1,2."),
    ("--config-dir DIR", "A folder with further choices, as DIR/strategy/NAME.yaml."),
    ("--cfg job", "Print the config that a run would have."),
    ("--hydra-help", "Show all flags of Hydra."),
)


def config_help(config_name: str, about: str) -> str:
    """The help of the command that composes ``conf/<config_name>.yaml``."""
    choices = [(f"{group}=", ", ".join(sorted(names))) for group, names in list_choices().items()]
    keys = [
        (f"{key}=", f"{meaning} (default: {default})" if default else meaning) for key, default, meaning in list_keys()
    ]
    sections = [("Choices", choices), ("Keys", keys), ("Flags", [*HYDRA_FLAGS, *FLAGS])]
    return format_help(f"python -m flowers_tl.{config_name} key=value ...", f"{about} {REPEATED}", sections)


def list_choices() -> dict[str, set[str]]:
    """The choices of each group: files in ``conf/``, and rows of tables, which the schema has registered."""
    files, stored = list(CONF.glob("*/*.yaml")), ConfigStore.instance().repo
    names = [*files, *(Path(group, name) for group in ("backbone", "data") for name in stored[group])]
    groups = sorted({name.parent.name for name in names})
    return {group: {name.stem for name in names if name.parent.name == group} for group in groups}


def list_keys(schema: Any = TrainConfig, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of the config, its default (nothing where it is null, or a choice says it), and its meaning."""
    hints, texts = get_type_hints(schema), field_docstrings(schema)
    for one in fields(schema):
        key, kind = prefix + one.name, hints[one.name]
        rows = [part for part in get_args(kind) if is_dataclass(part)]
        if key == "data":
            yield from list_data_keys()
        elif is_dataclass(kind):
            yield from list_keys(kind, f"{key}.")
        elif rows:
            yield from list_keys(rows[0], f"{key}.0.")
        else:
            known = one.default not in (None, MISSING, omegaconf.MISSING)
            yield key, as_typed(one.default) if known else "", texts.get(one.name, "")


def list_data_keys() -> Iterator[tuple[str, str, str]]:
    """The keys of all data sets' schemas, each once."""
    schemas = [value for name, value in vars(data_schema).items() if name.endswith("Config")]
    yield from {row[0]: row for schema in schemas for row in list_keys(schema, "data.")}.values()

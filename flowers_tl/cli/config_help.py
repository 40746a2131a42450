"""The help of a command that Hydra composes: the choices in ``conf/`` and every key of the schema with its meaning."""

from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path

import omegaconf
from hydra.core.config_store import ConfigStore

from flowers_tl.cli.options import FLAGS, as_typed, field_docstrings, format_help
from flowers_tl.config.data_schema import DATA_SCHEMAS, schema_fields
from flowers_tl.config.schema import CONF, TrainConfig

REPEATED = "If a key is given twice, the last value counts."
HYDRA_FLAGS = (
    ("-m, --multirun", "One run for each combination of values, as in seed=0,1,2."),
    ("--config-dir DIR", "A folder with your own yaml files, such as DIR/strategy/NAME.yaml."),
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


def list_keys() -> Iterator[tuple[str, str, str]]:
    """Every key of the config, its default (nothing where it is null, or a choice says it), and its meaning."""
    for key, one, schema in schema_fields(TrainConfig, DATA_SCHEMAS):
        known = one.default not in (None, MISSING, omegaconf.MISSING)
        yield key, as_typed(one.default) if known else "", field_docstrings(schema).get(one.name, "")

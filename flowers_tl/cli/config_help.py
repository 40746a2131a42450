"""The help of a command that Hydra composes: the choices in ``conf/`` and every key of the schema with its meaning."""

from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path

import omegaconf
from hydra.core.config_store import ConfigStore

from flowers_tl.cli.help import FLAGS, Help
from flowers_tl.cli.options import as_typed, field_docstrings
from flowers_tl.config.data_schema import DATA_SCHEMAS, schema_fields
from flowers_tl.config.schema import CONF, TrainConfig

REPEATED = "If a key is given twice, the last value counts."
EXAMPLES = (
    ("strategy=fine_tuning data=folder data.root=photos", "Train one strategy on your own images."),
    ("-m strategy=linear_probe,fine_tuning seed=0,1,2", "A sweep: two strategies with three seeds each."),
    ("strategy=gradual_unfreezing print_strategy=true", "Show what a strategy trains, and train nothing."),
)
HYDRA_FLAGS = (
    ("-m, --multirun", "One run for each combination of values, as in seed=0,1,2."),
    ("--config-dir DIR", "A folder with your own yaml files, such as DIR/strategy/NAME.yaml."),
    ("--cfg job", "Print the config that a run would have."),
    ("--hydra-help", "Show all flags of Hydra."),
)


def config_help(about: str) -> Help:
    """The help of the command that composes ``conf/train.yaml``."""
    command, titles = "python -m flowers_tl.train", field_docstrings(TrainConfig)
    choices = [(f"{group}=", ", ".join(sorted(names))) for group, names in list_choices().items()]
    keys: dict[str, list[tuple[str, str]]] = {}
    for key, default, meaning in list_keys():
        row = f"{key} = {default}" if default else key, meaning or "As in lightning.Trainer."
        keys.setdefault(key.rpartition(".")[0].partition(".")[0], []).append(row)
    # The keys without a group stand last in the schema.
    groups = [(f"{group}: {titles[group]}" if group else "The run", rows) for group, rows in keys.items()]
    about = f"{about} {REPEATED} --help WORD shows only what has to do with WORD."
    examples = [(f"{command} {words}", meaning) for words, meaning in EXAMPLES]
    sections = [("Examples", examples), ("Choices", choices), *groups, ("Flags", [*HYDRA_FLAGS, *FLAGS])]
    return Help(f"{command} key=value ...", about, sections)


def list_choices() -> dict[str, set[str]]:
    """The choices of each group: files in ``conf/``, and rows of tables, which the schema has registered."""
    files, stored = list(CONF.glob("*/*.yaml")), ConfigStore.instance().repo
    names = [*files, *(Path(group, name) for group in ("backbone", "data") for name in stored[group])]
    groups = sorted({name.parent.name for name in names})
    return {group: {name.stem for name in names if name.parent.name == group} for group in groups}


def list_keys() -> Iterator[tuple[str, str, str]]:
    """Every key of the config, its default (nothing where a choice says it), and its meaning."""
    for key, one, schema in schema_fields(TrainConfig, DATA_SCHEMAS):
        known = one.default not in (MISSING, omegaconf.MISSING)
        yield key, as_typed(one.default) if known else "", field_docstrings(schema).get(one.name, "")

"""A value out of its range, or none of the choices, is refused in one sentence before anything runs."""

import math
import re

import pytest

from flowers_tl.cli.config_help import list_keys
from flowers_tl.config.compose import compose_config
from flowers_tl.config.keys import ARTICLE
from flowers_tl.config.ranges import RANGES, validate_ranges
from flowers_tl.models.frozen_prefix import PRECISIONS
from flowers_tl.models.optim import OPTIMIZERS
from flowers_tl.utils.errors import UserError


def refused(key: str, value: object) -> str:
    """The sentence about a value of a key (its last number is a position in a list)."""
    names, config = key.split("."), value
    for name in reversed(names):
        config = [config] if name == "0" else {name: config}
    with pytest.raises(UserError) as error:
        validate_ranges(config)
    return str(error.value)


def test_every_row_is_about_a_key_of_the_schema():
    keys = {re.sub(r"\.\d+\b", ".*", key) for key, _, _ in list_keys()}
    # Of backbone.preprocessing, which may be a name, the schema has no keys.
    keys |= {f"backbone.preprocessing.{name}" for name in ARTICLE}
    assert {key.removesuffix(".*") for key in RANGES} <= keys


def test_choices_are_what_the_network_is_built_from():
    assert RANGES["optimizer.name"].choices == tuple(OPTIMIZERS)
    assert RANGES["cache.precision"].choices == tuple(PRECISIONS)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", -1, "seed=-1 must be at least 0."),
        ("heads.lr.0", 1e38, "heads.lr.0=1e+38 is too large to compute with: use a smaller number."),
        ("strategy.table.0.lr", 4e37, "strategy.table.0.lr=4e+37 is too large to compute with: use a smaller number."),
        ("strategy.table.0.from_epoch", -1, "strategy.table.0.from_epoch=-1 must be at least 0."),
        ("data.limit", 0, "data.limit=0 must be at least 1; null means all images."),
        ("data.first_species", -1, "data.first_species=-1 must be at least 0."),
        ("data.partition", 0, "data.partition=0 must lie between 1 and 10."),
        ("data.partition", 11, "data.partition=11 must lie between 1 and 10."),
        ("data.protocol", "trainvall", "is unknown: did you mean 'trainval'? Known: official, trainval."),
        ("optimizer.name", "adan", "optimizer.name=adan is unknown: did you mean 'adam'?"),
        ("optimizer.momentum", -1.0, "optimizer.momentum=-1.0 must be at least 0 and below 1."),
        ("optimizer.betas.0", 1.0, "optimizer.betas.0=1.0 must be at least 0 and below 1."),
        ("scheduler.name", "cosin", "did you mean 'cosine'"),
        ("scheduler.final", 1.1, "scheduler.final=1.1 must lie between 0 and 1;"),
        ("scheduler.pct_start", 0.0, "scheduler.pct_start=0.0 must lie between 0 and 1;"),
        ("scheduler.pct_start", 1.0, "scheduler.pct_start=1.0 must lie between 0 and 1;"),
        ("regularisation.label_smoothing", 1.0, "must be at least 0 and below 1;"),
        ("regularisation.mixup", 0, "regularisation.mixup=0 must be at least 1e-06; null turns it off."),
        ("regularisation.cutmix", math.inf, "regularisation.cutmix=inf must be above 0;"),
        ("cache.max_gb", 0, "cache.max_gb=0 must be above 0; cache.enabled=false turns the cache off."),
        ("heads.lr.0", 0.0, "heads.lr.0=0.0 must be above 0."),
        ("trainer.max_epochs", 0, "trainer.max_epochs=0 must be at least 1."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(key, value, sentence):
    assert sentence in refused(key, value)


@pytest.mark.parametrize("value", [math.nan, True, "3", "three"])
def test_what_is_no_number_is_in_no_range(value):
    assert "data.limit" in refused("data.limit", value)
    assert "optimizer.weight_decay" in refused("optimizer.weight_decay", value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0),
        ("data.limit", None),
        ("data.partition", 10),
        ("scheduler.final", 1.0),
        ("regularisation.label_smoothing", 0),
        ("cache.max_gb", math.inf),
    ],
)
def test_the_ends_that_belong_to_a_range_are_right(key, value):
    group, _, name = key.partition(".")
    validate_ranges({group: {name: value}} if name else {group: value})


def test_a_config_is_checked_as_it_is_composed():
    with pytest.raises(UserError, match=r"heads.lr.1=-1.0 must be above 0"):
        compose_config(["heads.lr=[0.1,-1.0]"])

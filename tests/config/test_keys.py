"""The keys of a config: flat names, those of later versions, and those on which no result depends."""

from copy import deepcopy

import pytest

from flowers_tl.cli.config_help import list_keys
from flowers_tl.config.keys import (
    ARTICLE,
    KEYS_WITHOUT_EFFECT,
    LATER_KEYS,
    add_later_keys,
    flatten,
    is_later_default,
    wants_many_heads,
)


@pytest.mark.parametrize("keys", [KEYS_WITHOUT_EFFECT, LATER_KEYS])
def test_keys_that_are_treated_apart_are_keys_of_the_schema(keys):
    assert set(keys) <= {key for key, *_ in list_keys()}


def test_flat_keys_are_those_of_the_command_line():
    config = {"seed": 0, "strategy": {"table": [{"lr": 0.1}, {"lr": 0.2}], "none": {}}, "root": None}
    flat = {"seed": 0, "strategy.table.0.lr": 0.1, "strategy.table.1.lr": 0.2, "root": None}
    assert flatten(config) == flat


def test_later_keys_are_added_at_their_defaults_and_what_is_there_stays(monkeypatch):
    monkeypatch.setitem(LATER_KEYS, "new.group.key", 4)
    assert add_later_keys({"data": {"root": "x"}}) == {
        "data": {"root": "x", "value_range": None, "fit": "crop", "flip": "horizontal", "exclude": None},
        "backbone": {"preprocessing": ARTICLE},
        "compute": {"gradient_checkpointing": False},
        "logger": "tensorboard",
        "monitor": "val/accuracy",
        "strategy": {"head_from": None, "neighbours": None},
        "new": {"group": {"key": 4}},
    }
    data = {"value_range": [0, 255], "fit": "pad", "flip": "none", "exclude": "audit.csv"}
    given = {"data": data, "new": {"group": {"key": 5, "other": 6}}}
    given |= {"backbone": {"preprocessing": ARTICLE | {"resize": 232}}, "compute": {"gradient_checkpointing": True}}
    given |= {"logger": "csv", "monitor": "val/loss", "strategy": {"head_from": ["neck"], "neighbours": [5]}}
    assert add_later_keys(deepcopy(given)) == given
    # Data sets with splits of their own have no keys to cut some.
    assert add_later_keys({"data": {"test_fraction": 0.15}})["data"]["fold"] == 0


def test_rows_of_an_earlier_version_have_no_adapter_and_those_of_this_one_enter_the_id():
    config = add_later_keys({"strategy": {"table": [{"stage": "head"}, {"stage": -1, "adapter": "lora"}]}})
    assert [row["adapter"] for row in config["strategy"]["table"]] == [None, "lora"]
    assert is_later_default("strategy.table.0.adapter", None)
    assert not is_later_default("strategy.table.11.adapter", "lora")
    assert not is_later_default("strategy.table.0.only", None)


@pytest.mark.parametrize(("override", "many"), [("seed=1", False), ("heads.lr=[0.1]", True), ("heads.seeds=2", True)])
def test_a_config_names_many_heads_or_one(config, override, many):
    assert wants_many_heads(config([override])) == many

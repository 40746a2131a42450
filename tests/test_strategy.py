"""The table is applied as it is written, and refused where it makes no sense."""

import pytest

from flowers_tl.errors import UserError
from flowers_tl.model.strategy import Strategy

FEATURES = ("stem", "layer1", "layer2")
STAGES = (*FEATURES, "neck", "head")


def groups(*rows, **more):
    table = [{"stage": stage, "lr": lr} for stage, lr in rows]
    return Strategy.from_dict({"name": "mine", "table": table, **more}).groups(STAGES, FEATURES)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("head", ("head",)),
        (-1, ("layer2",)),
        ("-1", ("layer2",)),
        (0, ("stem",)),
        ("1:", ("layer1", "layer2")),
        (":-1", ("stem", "layer1")),
        ("all", STAGES),
    ],
)
def test_a_row_names_stages(stage, expected):
    assert groups((stage, 1e-3))[0].stages == expected


def test_groups_keep_the_order_and_rates_of_the_table():
    assert [(g.name, g.lr) for g in groups((-1, 1e-4), ("head", 1e-3))] == [("layer2", 1e-4), ("head", 1e-3)]


@pytest.mark.parametrize("stage", ["heda", 3, -4, "5:", "1:2:3:4", "", "layer"])
def test_unknown_stage_is_refused(stage):
    with pytest.raises(UserError, match=r"which this backbone lacks.*an index counts stem, layer1, layer2"):
        groups((stage, 1e-3))


def test_nearest_stage_is_suggested():
    with pytest.raises(UserError, match=r"did you mean 'head'"):
        groups(("heda", 1e-3))


@pytest.mark.parametrize("second", ["layer2", "all", "1:"])
def test_overlapping_rows_are_refused(second):
    with pytest.raises(UserError, match=r"names stage layer\d twice"):
        groups((-1, 1e-4), (second, 1e-3))


@pytest.mark.parametrize("lr", [0, -1e-3, float("nan"), float("inf")])
def test_rate_must_be_above_zero(lr):
    with pytest.raises(UserError, match=r"must be above 0"):
        groups(("head", lr))


def test_empty_table_is_refused():
    with pytest.raises(UserError, match=r"nothing would learn"):
        groups()


@pytest.mark.parametrize(("key", "value"), [("weights", "randm"), ("frozen_batchnorm", "evil")])
def test_unknown_choice_is_refused(key, value):
    with pytest.raises(UserError, match=rf"strategy.{key}={value} is unknown: did you mean"):
        groups(("head", 1e-3), **{key: value})


@pytest.mark.parametrize("name", ["x=1", "a,b", "../up", "", "two words"])
def test_a_name_must_be_fit_for_a_folder(name):
    with pytest.raises(UserError, match="can't name a folder"):
        Strategy.from_dict({"name": name, "table": []})


def test_a_strategy_survives_the_way_through_plain_python():
    strategy = Strategy.from_dict({"name": "mine", "table": [{"stage": -1, "lr": 1e-4}], "frozen_batchnorm": "train"})
    assert Strategy.from_dict(strategy.to_dict()) == strategy

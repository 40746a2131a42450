"""The table is applied as it is written, and refused where it makes no sense."""

from dataclasses import asdict

import pytest

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.models.strategy import Strategy
from flowers_tl.utils.errors import UserError

FEATURES = ("stem", "layer1", "layer2")
STAGES = {
    name: {f"{name}.weight": frozenset({"weight"}), f"{name}.bias": frozenset({"bias"})} for name in (*FEATURES, "head")
}
STAGES["layer2"] = {"layer2.bn.weight": frozenset({"norm"}), "layer2.bn.bias": frozenset({"norm", "bias"})}
STAGES = {**{name: STAGES[name] for name in FEATURES}, "neck": {}, "head": STAGES["head"]}


def groups(*rows, **more):
    table = [row if isinstance(row, dict) else {"stage": row[0], "lr": row[1]} for row in rows]
    return Strategy.from_dict({"name": "mine", "table": table, **more}).make_groups(STAGES, FEATURES)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("head", ("head",)),
        (-1, ("layer2",)),
        ("-1", ("layer2",)),
        (0, ("stem",)),
        ("1:", ("layer1", "layer2")),
        (":-1", ("stem", "layer1")),
        ("::-1", ("layer2", "layer1", "stem")),
        ("all", tuple(STAGES)),
        (":head", (*FEATURES, "neck")),
        ("neck::-1", ("neck", "layer2", "layer1", "stem")),
        ("layer1:", ("layer1", "layer2", "neck", "head")),
        ("-2:head", ("layer1", "layer2", "neck")),
        ("head:0:-2", ("head", "layer2")),
    ],
)
def test_a_row_names_stages(stage, expected):
    assert groups((stage, 1e-3))[0].stages == expected


def test_groups_keep_the_order_and_rates_of_the_table():
    assert [(g.name, g.lr) for g in groups((-1, 1e-4), ("head", 1e-3))] == [("layer2", 1e-4), ("head", 1e-3)]


def test_a_factor_goes_on_from_the_row_above_stage_by_stage():
    found = groups(("head", 1e-3), ("neck::-1", "x0.5"))
    assert [(g.name, g.stages, g.lr) for g in found] == [
        ("head", ("head",), 1e-3),
        ("neck", ("neck",), 5e-4),
        ("layer2", ("layer2",), 2.5e-4),
        ("layer1", ("layer1",), 1.25e-4),
        ("stem", ("stem",), 6.25e-5),
    ]
    again = groups(("head", 1e-3), ("neck", "x0.1"), ("::-1", "x0.5"))
    assert [g.lr for g in again] == [1e-3, 1e-4, 5e-5, 2.5e-5, 1.25e-5]


def test_rates_do_not_depend_on_what_else_a_row_leaves_out():
    found = groups(("head", 1e-3), {"stage": "neck::-1", "lr": "x0.5", "only": ["weight"]})
    assert [(g.name, g.lr) for g in found] == [("head", 1e-3), ("layer1 weight", 1.25e-4), ("stem weight", 6.25e-5)]


def test_stages_of_a_row_may_begin_one_after_the_other():
    found = groups(("head", 1e-3), {"stage": "::-1", "lr": 1e-4, "from_epoch": 2, "every": 3})
    assert [(g.name, g.lr, g.from_epoch) for g in found] == [
        ("head", 1e-3, 0),
        ("layer2", 1e-4, 2),
        ("layer1", 1e-4, 5),
        ("stem", 1e-4, 8),
    ]
    (together,) = groups({"stage": "::-1", "lr": 1e-4, "from_epoch": 2})
    assert (together.name, together.from_epoch) == ("layer2-stem", 2)


def test_only_keeps_the_kinds_that_it_names():
    (norm,), (rest,) = (groups({"stage": "all", "lr": 1e-3, "only": [kind]}) for kind in ("norm", "bias"))
    assert norm.parameters == ("layer2.bn.weight", "layer2.bn.bias")
    assert (norm.name, norm.stages) == ("layer2 norm", ("layer2",))
    assert rest.parameters == ("stem.bias", "layer1.bias", "layer2.bn.bias", "head.bias")
    assert rest.name == "stem-head bias"


def test_rows_may_share_a_stage_where_they_share_no_parameter():
    found = groups(
        {"stage": "all", "lr": 1e-3, "only": ["norm", "bias"], "weight_decay": 0},
        {"stage": "all", "lr": 1e-3, "only": ["weight"]},
    )
    assert sorted(p for g in found for p in g.parameters) == sorted(p for kinds in STAGES.values() for p in kinds)
    assert [g.weight_decay for g in found] == [0, None]
    with pytest.raises(UserError, match="has stage layer2 in two rows"):
        groups({"stage": "all", "lr": 1e-3, "only": ["norm"]}, {"stage": "all", "lr": 1e-3, "only": ["bias"]})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"lr": "fast"}, "learning rate 'fast': use a number, or a factor"),
        ({"lr": "x0.5"}, "no row above"),
        ({"lr": "x-1"}, "must be above 0"),
        ({"lr": None}, "use a number"),
        ({"only": ["norm"]}, "this network has none there"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(row, message):
    with pytest.raises(UserError, match=message):
        groups({"stage": "head", "lr": 1e-3} | row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"from_epoch": -1}, "from_epoch=-1 must be at least 0"),
        ({"every": 0}, "every=0 must be at least 1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay=nan must be at least 0"),
        ({"only": ["norms"]}, "only.0=norms is unknown: did you mean 'norm'"),
    ],
)
def test_a_rows_values_have_ranges(row, message):
    with pytest.raises(UserError, match=rf"strategy.table.0.{message}"):
        validate_ranges({"strategy": {"table": [{"stage": "head", "lr": 1e-3} | row]}})


def test_a_table_survives_the_way_through_a_checkpoint():
    strategy = Strategy.from_dict(
        {
            "name": "m",
            "table": [{"stage": -1, "lr": "x0.5", "only": ["norm"], "every": 2, "weight_decay": 0.1}],
            "head": "solved",
        }
    )
    assert Strategy.from_dict(asdict(strategy)) == strategy


@pytest.mark.parametrize("stage", ["heda", 3, -4, "5:", "1:2:3:4", "", "layer", "neck:heda", "head:stem"])
def test_unknown_stage_is_refused(stage):
    with pytest.raises(UserError, match=r"which this backbone lacks.*numbers 0 \(stem\) to \d \(layer\d\)"):
        groups((stage, 1e-3))


def test_nearest_stage_is_suggested():
    with pytest.raises(UserError, match=r"did you mean 'head'"):
        groups(("heda", 1e-3))


@pytest.mark.parametrize("second", ["layer2", "all", "1:"])
def test_overlapping_rows_are_refused(second):
    with pytest.raises(UserError, match=r"has stage layer\d in two rows"):
        groups((-1, 1e-4), (second, 1e-3))


@pytest.mark.parametrize("lr", [0, -1e-3, float("nan"), float("inf")])
def test_rate_must_be_above_zero(lr):
    with pytest.raises(UserError, match=r"must be above 0"):
        groups(("head", lr))


def test_empty_table_is_refused_unless_the_head_is_solved():
    with pytest.raises(UserError, match=r"nothing would be trained"):
        groups()
    assert groups(head="solved") == ()


@pytest.mark.parametrize(("key", "value"), [("weights", "randm"), ("head", "solve"), ("frozen_batchnorm", "evil")])
def test_unknown_choice_is_refused(key, value):
    with pytest.raises(UserError, match=rf"strategy.{key}={value} is unknown: did you mean"):
        validate_ranges({"strategy": {key: value}})


@pytest.mark.parametrize("name", ["x=1", "a,b", "../up", "", "two words"])
def test_a_name_must_be_fit_for_a_folder(name):
    with pytest.raises(UserError, match="can't be a folder's name"):
        Strategy.from_dict({"name": name, "table": []})


def test_a_strategy_survives_the_way_through_plain_python():
    strategy = Strategy.from_dict({"name": "mine", "table": [{"stage": -1, "lr": 1e-4}], "frozen_batchnorm": "train"})
    assert Strategy.from_dict(asdict(strategy)) == strategy

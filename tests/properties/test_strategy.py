"""Any table is either applied so that each parameter has at most one group, or refused in a sentence."""

import math

from hypothesis import given
from hypothesis import strategies as st

from flowers_tl.models.strategy import Row, Strategy
from flowers_tl.utils.errors import UserError

FEATURES = ("stem", "layer1", "layer2", "layer3")
NAMES = (*FEATURES, "neck", "head")
KINDS = st.frozensets(st.sampled_from(["norm", "bias", "weight"]), min_size=1)
NETWORKS = st.fixed_dictionaries(
    {
        name: st.lists(KINDS, max_size=4).map(
            lambda kinds, name=name: {f"{name}.{k}": kind for k, kind in enumerate(kinds)}
        )
        for name in NAMES
    }
)
PLACES = st.one_of(st.just(""), st.sampled_from(NAMES), st.integers(-6, 6).map(str))
STAGES = st.one_of(
    st.sampled_from([*NAMES, "all", "nowhere", ":", "::-1"]),
    st.integers(-6, 6),
    st.tuples(PLACES, PLACES).map(":".join),
    st.tuples(PLACES, PLACES, st.sampled_from(["", "-1", "2", "0"])).map(":".join),
)
RATES = st.one_of(
    st.floats(1e-8, 10),
    st.floats(1e-3, 10).map(lambda factor: f"x{factor}"),
    st.sampled_from([0, -1e-3, "inf", "nan", "x0", "xnan", "fast"]),
)
ROWS = st.builds(
    Row,
    stage=STAGES,
    lr=RATES,
    from_epoch=st.integers(0, 5),
    every=st.none() | st.integers(1, 3),
    weight_decay=st.none() | st.floats(0, 1),
    only=st.none() | st.lists(st.sampled_from(["norm", "bias", "weight"]), min_size=1, unique=True),
)
TABLES = st.lists(ROWS, min_size=1, max_size=4)


def apply(table, network):
    """The groups, or None where the table is refused."""
    try:
        return Strategy("mine", tuple(table)).make_groups(network, FEATURES)
    except UserError:
        return None


@given(TABLES, NETWORKS)
def test_each_parameter_has_at_most_one_group(table, network):
    groups = apply(table, network) or ()
    learned = [name for group in groups for name in group.parameters]
    assert len(learned) == len(set(learned))
    assert set(learned) <= {name for parameters in network.values() for name in parameters}
    for group in groups:
        assert {name.split(".")[0] for name in group.parameters} <= set(group.stages)


@given(TABLES, NETWORKS)
def test_every_rate_is_a_number_to_learn_by(table, network):
    for group in apply(table, network) or ():
        assert 0 < group.lr < math.inf
        assert group.from_epoch >= 0


@given(TABLES, NETWORKS)
def test_only_the_kinds_that_a_row_names_are_trained(table, network):
    allowed = {kind for row in table for kind in row.only or ("norm", "bias", "weight")}
    for group in apply(table, network) or ():
        for name in group.parameters:
            assert network[name.split(".")[0]][name] & allowed


@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from(["", "1", "2", "-1", "-2"]), NETWORKS)
def test_a_slice_of_numbers_is_pythons(start, stop, step, network):
    expected = FEATURES[slice(start, stop, int(step) if step else None)]
    groups = apply([Row(f"{start}:{stop}:{step}", 1e-3)], network)
    assert (groups is None) == (not expected)
    if groups:
        assert groups[0].stages == expected


@given(TABLES, NETWORKS, st.integers(0, 5))
def test_what_learns_never_freezes_again(table, network, epoch):
    groups = apply(table, network) or ()
    now, next_ = (
        {name for group in groups if group.from_epoch <= when for name in group.parameters}
        for when in (epoch, epoch + 1)
    )
    assert now <= next_


@given(TABLES, NETWORKS)
def test_a_table_comes_back_from_plain_data(table, network):
    plain = {"name": "mine", "table": [vars(row) for row in table]}
    assert Strategy.from_dict(plain) == Strategy("mine", tuple(table))
    assert Strategy.from_dict(plain).table == tuple(table)

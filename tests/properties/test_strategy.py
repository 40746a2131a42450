"""Any table is either applied so that each parameter has at most one group, or refused in a sentence."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from flowers_tl.models.strategy import Row, Strategy
from flowers_tl.utils.errors import UserError

FEATURES = ("stem", "layer1", "layer2", "layer3")
NAMES = (*FEATURES, "neck", "head")
KINDS = [frozenset(kinds) for kinds in (["norm"], ["bias"], ["weight"], ["norm", "bias"])]


def make_network(seed: int) -> dict[str, dict[str, frozenset[str]]]:
    """Up to four parameters a stage, of any kinds; drawn by a seed, which is quicker than drawing each."""
    draw = random.Random(seed)
    return {name: {f"{name}.{k}": draw.choice(KINDS) for k in range(draw.randrange(5))} for name in NAMES}


NETWORKS = st.integers(0, 999).map(make_network)
PLACES = st.one_of(st.just(""), st.sampled_from(NAMES), st.integers(-6, 6).map(str))
SLICES = st.tuples(PLACES, PLACES, st.sampled_from(["", "1", "-1", "2", "0"])).map(":".join)
GOOD_RATES = st.floats(1e-8, 10)
BAD_RATES = st.sampled_from([0, 0.0, -1e-3, "inf", "nan", "x0", "xnan", "fast", "x0.5"])


def rows(stages, rates):
    return st.builds(
        Row,
        stage=stages,
        lr=rates,
        from_epoch=st.integers(0, 5),
        every=st.none() | st.integers(1, 3),
        weight_decay=st.none() | st.floats(0, 1),
        only=st.none() | st.lists(st.sampled_from(["norm", "bias", "weight"]), min_size=1, unique=True),
    )


# Most tables make sense; of the others there are all kinds.
GOOD = rows(st.sampled_from(NAMES) | st.integers(-4, 3), GOOD_RATES | st.floats(0.1, 10).map("x{}".format))
ANY = rows(SLICES | st.sampled_from([*NAMES, "all", "nowhere"]) | st.integers(-6, 6), GOOD_RATES | BAD_RATES)
TABLES = st.one_of(
    st.tuples(rows(st.sampled_from(NAMES), GOOD_RATES), GOOD).map(list),
    st.lists(GOOD, min_size=1, max_size=4),
    st.lists(rows(st.sampled_from(NAMES), GOOD_RATES | BAD_RATES), min_size=1, max_size=2),
    st.lists(ANY, min_size=1, max_size=3),
)


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

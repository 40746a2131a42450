"""What a strategy's table may say is what a strategy is built of."""

from dataclasses import MISSING, fields

import omegaconf
import pytest

from flowers_tl.cli.options import field_docstrings
from flowers_tl.config.strategy_schema import RowConfig, StrategyConfig
from flowers_tl.models.strategy import Row, Strategy

PAIRS = [(RowConfig, Row), (StrategyConfig, Strategy)]


@pytest.mark.parametrize(("schema", "built"), PAIRS)
def test_keys_and_defaults_are_those_of_the_strategy_and_each_has_its_meaning(schema, built):
    defaults = {one.name: MISSING if one.default == omegaconf.MISSING else one.default for one in fields(schema)}
    assert defaults == {one.name: one.default for one in fields(built)}
    assert field_docstrings(schema).keys() == defaults.keys()


def test_a_row_can_be_overridden_from_the_command_line(config):
    table = config(["strategy=fine_tuning", "strategy.table.1.lr=0.01"])["strategy"]["table"]
    assert [row["lr"] for row in table] == [1e-4, 0.01]

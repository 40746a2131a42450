"""The search space, written as Hydra's sweeps: a,b  range(1,4)  tag(log,interval(1e-5,1e-2))."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from flowers_tl.config.compose import compose_config, hydra_initialized, own_choices
from flowers_tl.utils.errors import UserError


@dataclass(frozen=True)
class SearchSpace:
    """The keys that are searched, each with its values, and the overrides of all trials."""

    parameters: Mapping[str, BaseDistribution]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides that set values of the keys, of a float four digits."""
        shown = {
            key: f"{values[key]:.4g}" if isinstance(values[key], float) else values[key] for key in self.parameters
        }
        return [f"{key}={value}" for key, value in shown.items()]

    def untried(self, tried: Sequence[Sequence[str]], most: int) -> list[dict[str, Any]] | None:
        """The combinations of values that are not among the ``tried`` overrides; None if there are more than ``most`` in all."""
        values = [every for one in self.parameters.values() if (every := all_values(one)) is not None]
        if len(values) < len(self.parameters) or math.prod(map(len, values)) > most:
            return None
        combinations = (dict(zip(self.parameters, each, strict=True)) for each in itertools.product(*values))
        by_overrides = {tuple(self.overrides(each)): each for each in combinations}
        known = set(map(tuple, tried))
        return [each for overrides, each in by_overrides.items() if overrides not in known]

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The config of one trial as plain Python. Raises UserError if it can't be composed."""
        return compose_config([*self.fixed, *overrides])

    def configs(self) -> Iterator[dict[str, Any]]:
        """Configs in which each value of a choice, and each end of a range, occurs once."""
        ends = {key: getattr(one, "choices", None) or (one.low, one.high) for key, one in self.parameters.items()}
        first = {key: values[0] for key, values in ends.items()}
        for key, values in ends.items():
            for value in values:
                yield self.compose(self.overrides(first | {key: value}))


def all_values(distribution: BaseDistribution) -> list[Any] | None:
    """The values of a choice or of a range with steps; None if they can't be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if distribution.log or distribution.step is None:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    # A float's last step may lie a rounding above the end.
    return [min(low + k * step, high) for k in range(round((high - low) / step) + 1)]


def read_space(arguments: Sequence[str], config_dir: Path | None = None) -> SearchSpace:
    """Read overrides: those that name several values are searched, the others are part of every trial.

    Raises:
        UserError: if one can't be read, or none names several values.
    """
    with hydra_initialized() as hydra:
        overrides = OverridesParser.create(hydra.config_loader()).parse_overrides(list(arguments))
        parameters = {one.get_key_element(): read_values(one) for one in overrides if one.is_sweep_override()}
    if of_hydra := [override.key_or_group for override in overrides if override.is_hydra_override()]:
        raise UserError(f"{of_hydra[0]} has no effect on a search, whose trials run one after another: leave it out.")
    if not parameters:
        raise UserError(
            "There is nothing to search: give a key several values, as in 'optimizer.weight_decay=0,1e-4' or "
            "'strategy.table.0.lr=tag(log,interval(1e-5,1e-2))'."
        )
    fixed = [override.input_line for override in overrides if not override.is_sweep_override()]
    return SearchSpace(parameters, (*own_choices(config_dir), *fixed))


def read_values(override: Override) -> BaseDistribution:
    """The values of a key. Raises UserError if they make no sense."""
    key, values = override.get_key_element(), override.value()
    tags: set[str] = getattr(values, "tags", set())
    if tags - {"log"}:
        raise UserError(f"{key}: there is no tag '{sorted(tags - {'log'})[0]}'; known: log.")
    if isinstance(values, IntervalSweep):
        low, high = values.start, values.end
        if not low < high:
            raise UserError(f"{key}: interval({low:g},{high:g}) is empty: the first end must be the lower.")
        if tags and low <= 0:
            raise UserError(f"{key}: on a log scale interval({low:g},{high:g}) must begin above 0.")
        return (IntDistribution if isinstance(low, int) else FloatDistribution)(low, high, log=bool(tags))
    if tags:
        raise UserError(f"{key}: tag(log,...) needs an interval, as in tag(log,interval(1e-5,1e-2)).")
    if isinstance(values, RangeSweep):
        # Hydra adds up steps, with their rounding: 0.30000000000000004 would lie beyond a range that ends at 0.3.
        numbers = sorted(n if isinstance(n, int) else float(f"{n:.12g}") for n in values.range())
        if len(numbers) > 1:
            kind = IntDistribution if isinstance(numbers[0], int) else FloatDistribution
            return kind(numbers[0], numbers[-1], step=abs(values.step))
    else:
        if hasattr(values, "shuffle"):
            # Optuna has no order of choices, but remembers it.
            values.shuffle = False
        numbers = list(override.sweep_string_iterator())
    choices = tuple(dict.fromkeys(str(value) for value in numbers))
    if not choices:
        raise UserError(f"{override.input_line} holds no value: give at least one.")
    return CategoricalDistribution(choices)

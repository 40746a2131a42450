"""The search space, written as Hydra's sweeps: a,b  range(1,4)  tag(log,interval(1e-5,1e-2))."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from flowers_tl.config.compose import compose_config, hydra_initialized, own_choices
from flowers_tl.utils.errors import UserError


@dataclass(frozen=True)
class Parameter:
    """One key and its values: ``choices`` without order, else numbers from ``low`` to ``high``, both included.

    Numbers without a ``step`` are floats of any value between; integers have one.
    """

    key: str
    choices: tuple[str, ...] | None = None
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    def suggest(self, trial: Any) -> str:
        """The override with a value that Optuna's ``trial`` selects."""
        if self.choices is not None:
            return self.override(trial.suggest_categorical(self.key, self.choices))
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return self.override(suggest(self.key, self.low, self.high, step=self.step, log=self.log))

    def override(self, value: str | float) -> str:
        """The override that sets a value, of a float four digits."""
        return f"{self.key}={value:.4g}" if isinstance(value, float) else f"{self.key}={value}"

    def values(self) -> list[Any] | None:
        """All its values as Optuna knows them; None if they can't be counted."""
        if self.choices is not None:
            return list(self.choices)
        if self.log or self.step is None:
            return None
        count = round((self.high - self.low) / self.step) + 1
        # A float's last step may lie a rounding above the end.
        return [min(self.low + k * self.step, self.high) for k in range(count)]

    def ends(self) -> list[str]:
        """Overrides by which to check whether the config takes its values."""
        return [f"{self.key}={value}" for value in self.choices or (self.low, self.high)]


@dataclass(frozen=True)
class SearchSpace:
    """The parameters that are searched, and the overrides of all trials."""

    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...]

    def untried(self, tried: Sequence[Sequence[str]], most: int) -> list[dict[str, Any]] | None:
        """The combinations of values that are not among the ``tried`` overrides; None if there are more than ``most`` in all."""
        values = [values for parameter in self.parameters if (values := parameter.values()) is not None]
        if len(values) < len(self.parameters) or math.prod(map(len, values)) > most:
            return None
        pairs = (list(zip(self.parameters, combination, strict=True)) for combination in itertools.product(*values))
        by_overrides = {tuple(p.override(value) for p, value in pair): pair for pair in pairs}
        known = set(map(tuple, tried))
        return [{p.key: value for p, value in pair} for key, pair in by_overrides.items() if key not in known]

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The config of one trial as plain Python. Raises UserError if it can't be composed."""
        return compose_config([*self.fixed, *overrides])

    def configs(self) -> Iterator[dict[str, Any]]:
        """Configs in which each value of a choice, and each end of a range, occurs once."""
        for parameter in self.parameters:
            others = [other.ends()[0] for other in self.parameters if other is not parameter]
            for end in parameter.ends():
                yield self.compose([*others, end])


def read_space(arguments: Sequence[str], config_dir: Path | None = None) -> SearchSpace:
    """Read overrides: those that name several values are searched, the others are part of every trial.

    Raises:
        UserError: if one can't be read, or none names several values.
    """
    with hydra_initialized() as hydra:
        overrides = OverridesParser.create(hydra.config_loader()).parse_overrides(list(arguments))
        parameters = tuple(parameter(override) for override in overrides if override.is_sweep_override())
    if of_hydra := [override.key_or_group for override in overrides if override.is_hydra_override()]:
        raise UserError(f"{of_hydra[0]} has no effect on a search, whose trials run one after another: leave it out.")
    if not parameters:
        raise UserError(
            "There is nothing to search: give a key several values, as in 'optimizer.weight_decay=0,1e-4' or "
            "'strategy.table.0.lr=tag(log,interval(1e-5,1e-2))'."
        )
    fixed = [override.input_line for override in overrides if not override.is_sweep_override()]
    return SearchSpace(parameters, (*own_choices(config_dir), *fixed))


def parameter(override: Override) -> Parameter:
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
        return Parameter(key, None, low, high, 1 if isinstance(low, int) else None, bool(tags))
    if tags:
        raise UserError(f"{key}: tag(log,...) needs an interval, as in tag(log,interval(1e-5,1e-2)).")
    if isinstance(values, RangeSweep):
        # Hydra adds up steps, with their rounding: 0.30000000000000004 would lie beyond a range that ends at 0.3.
        numbers = sorted(n if isinstance(n, int) else float(f"{n:.12g}") for n in values.range())
        if len(numbers) > 1:
            return Parameter(key, None, numbers[0], numbers[-1], abs(values.step))
    else:
        if hasattr(values, "shuffle"):
            # Optuna has no order of choices, but remembers it.
            values.shuffle = False
        numbers = list(override.sweep_string_iterator())
    choices = tuple(dict.fromkeys(str(value) for value in numbers))
    if not choices:
        raise UserError(f"{override.input_line} holds no value: give at least one.")
    return Parameter(key, choices)

"""Hydra's sweeper, but that it composes all jobs first: a wrong word ends the sweep before a job or a folder is there."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class CheckedSweeper(BasicSweeper):
    """Every combination of the values that are named, each composed before anything is written."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs. Raises HydraException or OmegaConf's errors if one can't be composed."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for batch in self.split_arguments(overrides, self.max_batch_size):
            super().validate_batch_is_legal(batch)
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing is left to do: Hydra asks for this when the sweep's folder is there already."""

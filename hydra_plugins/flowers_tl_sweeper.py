"""Hydra's sweeper, but it composes all jobs first: a wrong override ends the sweep before a job begins or a folder is made."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class CheckedSweeper(BasicSweeper):
    """All combinations of the given values, each composed before anything is written."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs. Raises HydraException or OmegaConf's errors if one can't be composed."""
        from flowers_tl.cli.sweep_summary import begin_records

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        for batch in self.split_arguments(overrides, self.max_batch_size):
            super().validate_batch_is_legal(batch)
        begin_records(self.config)
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: Hydra calls this when the sweep's folder is there already."""

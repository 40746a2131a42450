"""Hydra's sweeper, but it validates all jobs first: what no job can run with ends the sweep before a folder is made."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf.errors import InterpolationResolutionError


class CheckedSweeper(BasicSweeper):
    """All combinations of the given values, each composed and validated before anything is written."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs. Raises HydraException, OmegaConf's errors or UserError if one can't be composed, or none can run."""
        from flowers_tl.cli.sweep_summary import begin_records
        from flowers_tl.config.compose import to_plain
        from flowers_tl.training.validate import validate_jobs

        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        jobs = [job for batch in self.split_arguments(overrides, self.max_batch_size) for job in batch]
        # A value may name what only the job itself will know.
        with suppress(InterpolationResolutionError):
            validate_jobs([(job, to_plain(loader.load_sweep_config(self.config, list(job)), job)) for job in jobs])
        begin_records(self.config)
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: Hydra calls this when the sweep's folder is there already."""

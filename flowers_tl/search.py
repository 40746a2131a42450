"""Search for settings by a val score: ``python -m flowers_tl.search 'strategy.table.0.lr=tag(log,interval(1e-5,1e-2))'``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class SearchOptions:
    """Search for good settings with Optuna: keys with several values are searched, by the score `monitor` of the final
    weights on val, and never by test. Give the same command again to continue, with a larger `trials` for more trials."""

    overrides: Annotated[list[str], Positional("KEY=VALUES...", is_override())]
    """Any key of train; with several values: KEY=a,b  KEY=range(1,4)  KEY=interval(0,0.3)  KEY=tag(log,interval(1e-5,1e-2))"""
    trials: int = 20
    """How many settings to try."""
    search_seed: int = 0
    """Seed of the search (seed=N is the seed of the runs)."""
    pruning: bool = True
    """false: do not stop bad trials early."""
    confirm_seeds: int = 0
    """Number of other seeds with which the best settings are run again and tested at the end."""
    folder: Path | None = None
    """Folder of the search; by default search_HASH in the folder `runs`, with a hash of the command."""
    config_dir: Path | None = None
    """A folder with your own yaml files, such as DIR/strategy/NAME.yaml."""


@command(resume=lambda options: "; give the same command again to continue")
def main(options: SearchOptions) -> None:
    """Run the search that the options describe, or go on with it; print the best settings."""
    from flowers_tl.tuning.search import search

    search(**vars(options))


if __name__ == "__main__":
    main()

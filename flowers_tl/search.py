"""Search for settings by val accuracy: ``python -m flowers_tl.search 'strategy.table.0.lr=tag(log,interval(1e-5,1e-2))'``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class SearchOptions:
    """Search for good settings with Optuna: what has several values is searched, by val accuracy with the final weights
    and never by test. The same command goes on where it was stopped, and with more trials from where it ended."""

    overrides: Annotated[list[str], Positional("KEY=VALUES...", is_override())]
    """What train takes; searched: KEY=a,b  KEY=range(1,4)  KEY=interval(0,0.3)  KEY=tag(log,interval(1e-5,1e-2))"""
    trials: int = 20
    """How many settings to try."""
    search_seed: int = 0
    """Seed of the proposals; seed=N is the runs'."""
    pruning: bool = True
    """false: let trials that fall behind go on to their end."""
    confirm_seeds: int = 0
    """At the end run the best anew with so many other seeds, and test it."""
    folder: Path | None = None
    """Where all goes; by default search_HASH-OF-THE-COMMAND below runs."""
    config_dir: Path | None = None
    """A folder with further strategies and the like, as DIR/strategy/NAME.yaml."""


@command(resume=lambda options: "; the same command goes on")
def main(options: SearchOptions) -> None:
    """Run the search that the options describe, or go on with it; print the best settings."""
    from flowers_tl.tuning.search import search

    search(**vars(options))


if __name__ == "__main__":
    main()

"""Find out which strategy suits your images: ``python -m flowers_tl.advise data=folder data.root=photos budget=30m``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class AdviseOptions:
    """Race strategies against each other on your images, and stop when it is decided which to use, or the budget is spent. The
    val images decide; the test images are measured once, for what was chosen and its rivals. Give the same command again to
    continue, with a larger `budget` for more."""

    budget: str = "30m"
    """How long it may take: 90s, 30m, 1h30m."""
    backbone: str | None = None
    """The networks: NAME, A,B or '[{name: A, weights: FILE}, B]'; by default that of train."""
    strategy: str | None = None
    """Strategies, separated by commas; by default the eight of sweep=strategies."""
    out: Path | None = None
    """Folder of the answer and of the runs; by default advice_HASH in the folder `runs`, with a hash of the question."""
    matters: float = 0.5
    """A difference in accuracy, in points, that is too small to matter."""
    config_dir: Path | None = None
    """A folder with your own yaml files, such as DIR/strategy/NAME.yaml."""
    overrides: Annotated[list[str], Positional("[KEY=VALUE...]", is_override())] = field(default_factory=list)
    """Keys of train that all runs get: data=folder data.root=photos trainer.max_epochs=10; seed=N is the first of the seeds"""


@command(resume=lambda options: "; give the same command again to continue")
def main(options: AdviseOptions) -> None:
    """Print the answer, and write it with its evidence."""
    from flowers_tl.advising.advise import advise

    advise(**vars(options))


if __name__ == "__main__":
    main()

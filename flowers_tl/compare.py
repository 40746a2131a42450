"""Put runs side by side: ``python -m flowers_tl.compare outputs/2026-01-31/12-00-00_sweep``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command


@dataclass(kw_only=True)
class CompareOptions:
    """Table and curves of finished runs; runs that differ only by seed become one row, mean ± standard deviation. Runs that
    were not measured in the same way, on the same images, are not compared."""

    folders: Annotated[list[Path], Positional("FOLDER...", lambda word: "=" not in word or Path(word).exists())]
    """A run's folder, or one with runs below it (a multirun's)."""
    out: Path | None = None
    """Where comparison.md and comparison.png go; by default the folder, if only one is named, else a new one in outputs."""
    report: Path | None = None
    """Also write report.html, one page with intervals, tests, curves and mistakes, and report.csv and report.md."""
    root: Path | None = None
    """Folder of the runs' images, for the report; by default the one that they name. Only the very images are shown."""
    figures: str = ""
    """Also write the figures of the report into the folder of comparison.md: png, svg or pdf, separated by commas."""
    allow_mixed: bool = False
    """true: show runs of unlike protocols in tables of their own."""


@command
def main(options: CompareOptions) -> None:
    """Print the comparison, and write it with the curves."""
    from flowers_tl.report.compare_runs import compare_runs

    compare_runs(**vars(options))


if __name__ == "__main__":
    main()

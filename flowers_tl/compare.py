"""Put runs side by side: ``python -m flowers_tl.compare outputs/2026-01-31/12-00-00_sweep``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flowers_tl.cli.options import Positional, command


@dataclass(kw_only=True)
class CompareOptions:
    """Table and curves of finished runs; runs that differ only by seed become one row, mean ± standard deviation. Runs on
    different images, or measured in another way, are refused."""

    folders: Annotated[list[Path], Positional("FOLDER...", lambda word: "=" not in word or Path(word).exists())]
    """Folders of runs or of sweeps."""
    out: Path | None = None
    """Folder for comparison.md and comparison.png; by default the given folder if there is only one, else a new one in outputs."""
    report: Path | None = None
    """Folder of report.html, one page with intervals, tests, curves and mistakes; by default report, beside comparison.md."""
    root: Path | None = None
    """Folder of the runs' images, for the report; by default their data.root. Only images with the same content are shown."""
    figures: str = ""
    """Also write the figures of the report into the folder of comparison.md: png, svg or pdf, separated by commas."""
    exclude: Path | None = None
    """An audit.csv: also say what accuracy is without the test images that it leaves out, and whether the order changes."""
    monitor: str | None = None
    """By which score of the val images the best is selected, such as val/macro_f1; by default the one that all runs monitored, else
    val/accuracy. It is computed from the kept predictions where it is not on record."""
    allow_mixed: bool = False
    """true: also accept runs that can't be compared with one another; each kind gets its own table."""


@command
def main(options: CompareOptions) -> None:
    """Print the comparison, and write it with the curves."""
    from flowers_tl.report.compare_runs import compare_runs

    compare_runs(**vars(options))


if __name__ == "__main__":
    main()

"""Put runs side by side: ``python -m flowers_tl.compare outputs/2026-01-31/12-00-00_sweep``."""

import argparse
import time
from pathlib import Path

from flowers_tl.errors import UserError, told

HELP = "Table and curves of finished runs; runs that differ only by seed become one row, mean ± standard deviation."


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison of the run folders on the command line; write comparison.md and comparison.png."""
    parser = argparse.ArgumentParser(prog="python -m flowers_tl.compare", description=HELP)
    parser.add_argument(
        "runs", nargs="+", metavar="FOLDER", help="a run's folder, or one with runs below it (a multirun's)"
    )
    where = "where comparison.md and comparison.png go; default: the folder, if only one is named, else a new one in outputs"
    parser.add_argument("out", nargs="*", metavar="out=FOLDER", help=where)
    given = parser.parse_args(arguments).runs
    out = next((Path(argument.removeprefix("out=")) for argument in given if argument.startswith("out=")), None)
    folders = [argument for argument in given if not argument.startswith("out=")]
    with told():
        compare(folders, out or default_folder(folders))


def compare(folders: list[str], out: Path) -> None:
    """Compare the runs in or below the folders; print the table, and write it with the curves into ``out``."""
    from flowers_tl.results.comparison import HEADER, find_runs, group_runs, table_rows, to_markdown
    from flowers_tl.results.figures import draw_curves
    from flowers_tl.results.tables import print_comparison

    if not folders:
        raise UserError("No run folder is named: python -m flowers_tl.compare FOLDER... [out=FOLDER].")
    runs, unfinished = find_runs(folders)
    groups, repeated = group_runs(runs)
    notes = unfinished + repeated
    print_comparison(HEADER, table_rows(groups))
    for note in notes:
        print(f"Note: {note}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        draw_curves(groups, out / "comparison.png")
        (out / "comparison.md").write_text(to_markdown(groups, notes, "comparison.png"))
    except OSError as error:
        raise UserError(
            f"The comparison can't be written into {out} ({error}): name another folder with out=FOLDER."
        ) from error
    print(f"Written: {out / 'comparison.md'} and {out / 'comparison.png'}")


def default_folder(folders: list[str]) -> Path:
    """The one folder that was given, or a new one."""
    return (
        Path(folders[0]) if len(folders) == 1 else Path("outputs") / f"comparison_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    )


if __name__ == "__main__":
    main()

"""Put runs side by side: ``python -m flowers_tl.compare outputs/2026-01-31/12-00-00_sweep``."""

import argparse
from pathlib import Path
from textwrap import fill
from typing import Any

from flowers_tl.utils.errors import UserError, exit_on_error, suggest, validate_not_empty
from flowers_tl.utils.files import new_folder
from flowers_tl.utils.overwriting import validate_overwrite

HELP = """Table and curves of finished runs; runs that differ only by seed become one row, mean ± standard deviation.
Runs that were not measured in the same way, on the same images, are refused.

out=FOLDER        where comparison.md and comparison.png go; default: the folder, if only one is named, else a new one in outputs
report=FOLDER     also write report.html, one page with intervals, tests, curves and mistakes, and report.csv and report.md
allow_mixed=true  show runs of unlike protocols in tables of their own"""
OPTIONS = ("out", "report", "allow_mixed")


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison of the run folders on the command line, and write it."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m flowers_tl.compare", description=HELP, formatter_class=form)
    parser.add_argument(
        "runs", nargs="+", metavar="FOLDER", help="a run's folder, or one with runs below it (a multirun's)"
    )
    parser.add_argument("options", nargs="*", metavar="key=value", help="see above")
    given = parser.parse_args(arguments).runs
    with exit_on_error():
        folders, options = read(given)
        compare(folders, options.get("out"), options.get("report"), options["allow_mixed"])


def read(given: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Tell folders from options. Raises UserError for an option that there is not."""
    folders, options = [], {"allow_mixed": False}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            folders.append(word)
        elif key not in OPTIONS:
            raise UserError(f"{word} is neither a folder nor an option: {suggest(key, OPTIONS)}.")
        elif key == "allow_mixed" and value not in ("true", "false"):
            raise UserError(f"allow_mixed={value} must be true or false.")
        else:
            options[key] = value == "true" if key == "allow_mixed" else value
    validate_not_empty({"FOLDER": folders, **options})
    if not folders:
        raise UserError("No run folder is named: python -m flowers_tl.compare FOLDER... [key=value].")
    return folders, options


def compare(folders: list[str], out: str | None, report: str | None = None, allow_mixed: bool = False) -> None:
    """Compare the runs in or below the folders; print a table for each protocol, and write it with the curves into ``out``.

    Without ``out`` the one folder that is named takes them, of several folders a new one in outputs.
    """
    from flowers_tl.report import FILES as REPORT_FILES
    from flowers_tl.report import SIGN as REPORT_SIGN
    from flowers_tl.report import Comparisons, advise, measure, write_report
    from flowers_tl.results.figures import draw_curves
    from flowers_tl.results.load_runs import HEADER, find_runs, group_runs, table_rows, to_markdown
    from flowers_tl.results.protocol import by_protocol
    from flowers_tl.results.terminal_tables import print_comparison

    runs, unfinished = find_runs(folders)
    parts = by_protocol(runs, allow_mixed)
    pages = []
    figures = [f"comparison{f'_{number}' if number > 1 else ''}.png" for number in range(1, len(parts) + 1)]
    place = Path(out or folders[0]) if out or len(folders) == 1 else None
    if place:
        validate_overwrite(place, ["comparison.md", *figures], "](comparison.png)", "out")
    places = [
        Path(report) / (str(number + 1) if len(parts) > 1 else "") for number in range(len(parts) if report else 0)
    ]
    for place in places:
        validate_overwrite(place, REPORT_FILES, REPORT_SIGN, "report")
    try:
        out = place or new_folder("comparison")
        out.mkdir(parents=True, exist_ok=True)
        for number, (words, members) in enumerate(parts):
            groups, repeated = group_runs(members)
            notes = [*(unfinished if number == 0 else []), *repeated]
            if len(parts) > 1:
                print(f"Under {words}:")
            print_comparison(HEADER, table_rows(groups))
            facts, comparisons = measure(groups, notes), Comparisons()
            for line in [*advise(facts, comparisons), *(f"Note: {note}" for note in facts.notes)]:
                print(fill(line, 100, subsequent_indent="    "))
            draw_curves(groups, out / figures[number])
            heading = f"Under {words}\n\n" if len(parts) > 1 else ""
            pages.append(heading + to_markdown(groups, facts.notes, figures[number]))
            if report is not None:
                print(f"Written: {write_report(facts, comparisons, places[number])}")
        (out / "comparison.md").write_text("\n".join(pages))
    except OSError as error:
        raise UserError(
            f"The comparison can't be written into {out or 'outputs'} ({error}): name another folder with out=FOLDER."
        ) from error
    print(f"Written: {out / 'comparison.md'} and {out / 'comparison.png'}")


if __name__ == "__main__":
    main()

"""List and clear what is kept on disk: ``python -m flowers_tl.cache list`` and ``python -m flowers_tl.cache clear``."""

import argparse
import math
import time
from pathlib import Path

from flowers_tl.utils.errors import UserError, exit_on_error

HELP = (
    "What runs keep to compute nothing twice: decoded images, and what frozen stages make of them. "
    "All of it can be cleared at any time: the next run makes anew what it needs."
)


def main(arguments: list[str] | None = None) -> None:
    """List the entries of the cache, or remove them."""
    parser = argparse.ArgumentParser(prog="python -m flowers_tl.cache", description=HELP)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "clear"), help="default: list")
    options = "dir=DIR: the folder that cache.dir names in runs; unused_days=N: clear what was not used for N days"
    parser.add_argument("options", nargs="*", metavar="key=value", help=options)
    given = parser.parse_args(arguments)
    with exit_on_error():
        folder, days = read_options(given.options)
        if given.action == "clear":
            print_cleared(folder, days)
        else:
            print_entries(folder)


def read_options(options: list[str]) -> tuple[Path, float]:
    """The folder and the number of days that the command line names."""
    from flowers_tl.data.cached.disk_cache import default_folder

    found: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("dir", "unused_days"):
            raise UserError(f"There is no option '{key}': say dir=DIR or unused_days=N.")
        if not value:
            raise UserError(f"{option} names nothing: say {key}=VALUE, or leave it out.")
        if key in found:
            raise UserError(f"{key} is named twice: name it once.")
        found[key] = value
    try:
        days = float(found.get("unused_days", 0))
        if not 0 <= days < math.inf:
            raise ValueError
    except ValueError:
        raise UserError(f"unused_days={found['unused_days']} is not a number of days, 0 or more.") from None
    if "dir" in found and not Path(found["dir"]).is_dir():
        raise UserError(f"dir={found['dir']} is no folder: name one that runs were told as cache.dir.")
    return Path(found.get("dir") or default_folder()), days


def print_entries(folder: Path) -> None:
    """Print all entries, those that were used last first."""
    from rich.console import Console
    from rich.table import Table

    from flowers_tl.data.cached.disk_cache import entries

    table = Table("entry", "what it is", title=f"Cache in {folder}", title_justify="left")
    table.add_column("MB", justify="right")
    table.add_column("last used")
    known = sorted(entries(folder), key=lambda entry: -entry["used"])
    for entry in known:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["used"]))
        table.add_row(entry["folder"].name, entry["what"], f"{entry['bytes'] / 1e6:,.1f}", used)
    Console().print(table)
    print(f"{len(known)} entries, {sum(entry['bytes'] for entry in known) / 1e9:.2f} GB")


def print_cleared(folder: Path, days: float) -> None:
    """Remove entries, and say how much that was."""
    from flowers_tl.data.cached.disk_cache import clear

    try:
        removed = clear(folder, days)
    except OSError as error:
        raise UserError(
            f"The cache in {folder} can't be cleared ({error}): remove it as the user who owns it."
        ) from error
    print(f"Removed {removed / 1e9:.2f} GB from {folder}.")


if __name__ == "__main__":
    main()

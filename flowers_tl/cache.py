"""List and clear the cache: ``python -m flowers_tl.cache list`` and ``python -m flowers_tl.cache clear``."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from flowers_tl.cli.options import Positional, command
from flowers_tl.utils.errors import UserError


@dataclass(kw_only=True)
class CacheOptions:
    """The cache of the runs: decoded images, and outputs of frozen stages. It can be cleared at any time: the next run
    computes again what it needs."""

    action: Annotated[Literal["list", "clear"], Positional("[list|clear]", lambda word: "=" not in word)] = "list"
    """List the entries, the most recently used first, or remove them."""
    dir: Path | None = None
    """The folder of the cache, cache.dir in runs; by default flowers_tl in the user's cache folder."""
    unused_days: float = 0
    """Clear only entries that were not used for this many days."""


@command
def main(options: CacheOptions) -> None:
    """List the entries of the cache, or remove them."""
    from flowers_tl.data.cached.disk_cache import clear, default_folder, entries
    from flowers_tl.utils.notes import log, log_table

    if not 0 <= options.unused_days < math.inf:
        raise UserError(f"unused_days={options.unused_days:g} must be a number of days, at least 0.")
    if options.unused_days and options.action == "list":
        raise UserError(
            f"unused_days={options.unused_days:g} is for cache clear: cache list shows when each was used last."
        )
    if options.dir and not options.dir.is_dir():
        raise UserError(f"dir={options.dir} is no folder: use the cache.dir of your runs.")
    folder = options.dir or Path(default_folder())
    if options.action == "clear":
        try:
            print(f"Removed {clear(folder, options.unused_days) / 1e9:.2f} GB from {folder}.")
        except OSError as error:
            raise UserError(f"{folder} can't be cleared ({error}): remove it as the user who owns it.") from error
        return
    known, rows = sorted(entries(folder), key=lambda entry: -entry["used"]), []
    for entry in known:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["used"]))
        rows.append([entry["folder"].name, entry["what"], f"{entry['bytes'] / 1e6:,.1f}", used])
    log_table(f"Cache in {folder}", ["entry", "what it is", "MB", "last used"], rows, left=["what it is", "last used"])
    log.info(f"{len(known)} entries, {sum(entry['bytes'] for entry in known) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

"""Make the campaign's tries, keep each result, and write the table: ``python -m tests.campaign [long=true] [only=NAME]``."""

import json
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flowers_tl.cli.options import command
from flowers_tl.utils.files import atomic_write, dumps
from tests.campaign import MODULES, Try, attempt, find_tries
from tests.campaign.table import write_table

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass(kw_only=True)
class CampaignOptions:
    """Attack each promise of docs/reliability.md, one try after another. The same command goes on where it was stopped."""

    long: bool = False
    """All tries, and write their table into docs/reliability.md; false: a few of each promise."""
    only: list[Literal[MODULES]] = field(default_factory=list)  # type: ignore[valid-type]
    """Only this promise."""
    results: Path = Path("outputs/campaign.json")
    """File of the results; tries that are in it are not made again."""
    again: Literal["none", "failed", "all"] = "none"
    """Which tries that are in the file are made again."""


@command
def main(options: CampaignOptions) -> int:
    """Make the tries; the exit code is 1 if one failed."""
    # A shell lets a job in the background ignore Ctrl-C, and the commands that are interrupted would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = json.loads(options.results.read_text()) if options.results.is_file() else {}
    made = []
    for name in options.only or MODULES:
        known = results.setdefault(name, {})
        for one in find_tries(name, options.long):
            if (
                one.name not in known
                or options.again == "all"
                or (options.again == "failed" and known[one.name]["failure"])
            ):
                known[one.name] = make(one)
                options.results.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(options.results) as beside:
                    beside.write_text(dumps(results, indent=1) + "\n")
                print(f"{name}: {one.name}: {known[one.name]['failure'] or 'held'}", flush=True)
            made.append(known[one.name])
    failures = sum(bool(result["failure"]) for result in made)
    print(f"{len(made)} tries, {failures} failures: {options.results}")
    if options.long:
        write_table(PAGE, results)
    return int(failures > 0)


def make(one: Try) -> dict[str, Any]:
    """The result of a try: its failure or null, what it measured, and its seconds."""
    began, failure, measured = time.perf_counter(), None, None
    with tempfile.TemporaryDirectory(prefix="try-") as folder:
        try:
            measured = attempt(one, Path(folder))
        except Exception as error:
            traceback.print_exc()
            failure = str(error) if isinstance(error, AssertionError) and str(error) else repr(error)
    return {"failure": failure, "measured": measured, "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    main()

"""The table of docs/reliability.md: promise, tries, failures."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.campaign import MODULES, load

BLOCK = re.compile(r"(<!-- campaign -->\n).*?(<!-- end of campaign -->)", re.DOTALL)


def format_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table in Markdown, of the results by promise and name of the try."""
    lines = ["| promise | tries | failures |", "|---|---|---|"]
    for name in MODULES:
        made = results.get(name, {}).values()
        failures = sum(bool(result["failure"]) for result in made)
        numbers = f"{len(made)} | {failures}" if made else "not measured | "
        lines.append(f"| [{load(name).PROMISE}](../tests/campaign/{name}.py) | {numbers} |")
    return "\n".join(lines) + "\n"


def write_table(page: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the table between the page's two comments."""
    text = page.read_text()
    page.write_text(BLOCK.sub(lambda block: block[1] + format_table(results) + block[2], text))

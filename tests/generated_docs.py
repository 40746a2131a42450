"""Tables of keys in docs/, generated from the schema of the config: ``python tests/generated_docs.py`` writes them again.

A table stands between two comments: ``<!-- keys: cache -->`` names the keys by their beginning, ``<!-- end of keys -->`` ends it.
"""

import re
from pathlib import Path

from flowers_tl.cli.config_help import list_keys

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(<!-- keys: (\S+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def keys_table(beginnings: str) -> str:
    """A Markdown table of the keys that begin with one of some words (split by commas): key, default, meaning."""
    rows = [row for row in list_keys() if row[0].startswith(tuple(f"{word}." for word in beginnings.split(",")))]
    if beginnings == "top":
        rows = [row for row in list_keys() if "." not in row[0]]
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, default, meaning in rows:
        cell = meaning.replace("|", "\\|")
        lines.append(f"| `{key}` | {f'`{default}`' if default else ''} | {cell} |")
    return "\n".join(lines) + "\n"


def generate(text: str) -> str:
    """A page with its tables of keys as the schema has them."""
    return BLOCK.sub(lambda block: block[1] + keys_table(block[2]) + block[3], text)


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(generate(page.read_text()))

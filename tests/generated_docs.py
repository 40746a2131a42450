"""Tables of keys in docs/, generated from the schema of the config: ``python tests/generated_docs.py`` writes them again.

A table stands between two comments: ``<!-- keys: cache -->`` names the keys by their beginning, ``<!-- end of keys -->`` ends it.
The table of ``<!-- keys: by-data-set -->`` says which data sets have which keys.
"""

import re
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore

from flowers_tl.cli.config_help import list_choices, list_keys
from flowers_tl.config.schema import CONF

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


def keys_by_data_set() -> str:
    """A Markdown table of the keys of ``data`` that only some data sets have: keys, data sets."""
    store, keys = ConfigStore.instance().repo, {}
    for name in sorted(list_choices()["data"]):
        file = CONF / "data" / f"{name}.yaml"
        choice = yaml.safe_load(file.read_bytes()) if file.is_file() else store["data"][f"{name}.yaml"].node
        # Such as /folder_schema@_here_.
        keys[name] = set(store[f"{choice['defaults'][0].strip('/').partition('@')[0]}.yaml"].node)
    rows: dict[str, list[str]] = {}
    for key in (key.removeprefix("data.") for key, *_ in list_keys() if key.startswith("data.")):
        if key not in set.intersection(*keys.values()):
            rows.setdefault(", ".join(f"`{name}`" for name in keys if key in keys[name]), []).append(f"`{key}`")
    lines = [f"| {', '.join(members)} | {names} |" for names, members in rows.items()]
    return "\n".join(["| keys | data sets |", "|---|---|", *lines]) + "\n"


def generate(text: str) -> str:
    """A page with its tables of keys as the schema has them."""
    made = {"by-data-set": keys_by_data_set()}
    return BLOCK.sub(lambda block: block[1] + (made.get(block[2]) or keys_table(block[2])) + block[3], text)


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        page.write_text(generate(page.read_text()))

"""What runs have left is read as data within bounds: a folder may come from a stranger."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import yaml

from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.files import validate_ordinary

# Bytes of a file, levels of a value, characters of a text: far above those of any real record. Then the largest integer and
# float: a run that diverges may have any loss of 32 bits.
MOST_BYTES = {".json": 2**24, ".yaml": 2**18, ".csv": 2**26}
MOST_LEVELS, MOST_LETTERS = 20, 10_000
MOST = {int: 2**63, float: 1e39}
NUMBER = (int, float)
# Bytes of what an archive unpacks to, beside sixteen times its own: weights and logits hardly shrink, names do.
MOST_UNPACKED = 2**26
# Of result.json, where it has them. A star stands for any name.
KINDS: dict[str, Any] = {
    **dict.fromkeys(("status", "error", "id", "strategy", "backbone", "weights", "weights_fingerprint"), str),
    **dict.fromkeys(("data.name", "data.root", "protocol.name", "protocol.metric"), str),
    **dict.fromkeys(("protocol.splits.*", "versions.*", "heads_of.run"), str),
    **dict.fromkeys(("seed", "epochs", "parameters.*", "data.train", "data.val", "data.test", "measured.*"), int),
    "protocol.excluded": int,
    **dict.fromkeys(("learning_rates.*", "seconds.*", "kept.*", "val.*", "test.*", "data.value_range.*"), NUMBER),
    **dict.fromkeys(("learning_rates", "parameters", "data", "protocol", "protocol.splits", "seconds", "kept"), dict),
    **dict.fromkeys(("versions", "measured", "val", "test", "heads_of", "solved_head"), dict),
    "solved_head.neighbours": int,
    **dict.fromkeys(("heads", "data.value_range", "command", "classes"), list),
    **{"device": str, "flops": dict, "flops.*": int, "command.*": str, "classes.*": str},
}
# A note in the folder of a sweep's job whose run was made before: the path of that run from there.
ELSEWHERE = "elsewhere.json"


class PlainLoader(yaml.SafeLoader):
    """Reads YAML without aliases, by which few lines stand for endless data; no record has any."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has YAML aliases")
        return super().compose_node(parent, index)


def read_mapping(file: Path, kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The mapping in a JSON or YAML file of a record.

    Raises:
        OSError: if it can't be read.
        ValueError: if it is no such file, is larger than any record, or its values are not of the ``kinds``.
    """
    text = read_text(file)
    try:
        value = yaml.load(text, PlainLoader) if file.suffix == ".yaml" else json.loads(text)
    except (RecursionError, yaml.YAMLError) as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(value, dict):
        raise ValueError("it holds no names with values")
    return plain(value, kinds or {})


def read_text(file: Path) -> str:
    """The text of a record's file. Raises OSError or ValueError as :func:`read_mapping` does."""
    validate_ordinary(file)
    if (size := file.stat().st_size) > (most := MOST_BYTES[file.suffix]):
        raise ValueError(f"its {size:,} bytes are more than {most:,}")
    return file.read_text(encoding="utf-8")


def validate_unpacked(file: Path) -> None:
    """Raise ValueError if a file is an archive, as checkpoints and NumPy's are, that unpacks to far more than it has."""
    if is_zipfile(file):
        with ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED + 16 * file.stat().st_size:
                raise ValueError("it unpacks to more than any such file")


def plain(value: Any, kinds: Mapping[str, Any], key: str = "", level: int = 0) -> Any:
    """A copy of nested mappings and lists. Raises ValueError where a value is too deep, too large or of another kind."""
    kind = kinds.get(key) or kinds.get(f"{key.rpartition('.')[0]}.*")
    if kind and value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise ValueError(f"{key} can't be {value!r:.40}")
    if level > MOST_LEVELS:
        raise ValueError("its values are nested too deep")
    if isinstance(value, Mapping):
        inner = ((printable(str(name)), part) for name, part in value.items())
        return {name: plain(part, kinds, f"{key}.{name}" if key else name, level + 1) for name, part in inner}
    if isinstance(value, list | tuple):
        return [plain(part, kinds, f"{key}.{place}", level + 1) for place, part in enumerate(value)]
    if type(value) in MOST and MOST[type(value)] < abs(value) < math.inf:
        raise ValueError(f"{key} is too large a number")
    return printable(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """A text without what would act on a terminal, and not endless."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text[:MOST_LETTERS])


def follow_link(folder: Path) -> Path:
    """The folder of the run that a sweep's job links to, or the folder itself where it links to none.

    Raises:
        UserError: if the link can't be read, or leads back to itself.
    """
    passed = set()
    while (link := folder / ELSEWHERE).exists():
        try:
            passed.add(folder.resolve())
            folder = folder / read_mapping(link, {"run": str})["run"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{link} can't be read, so the run that it links to is missing.") from error
        if folder.resolve() in passed:
            raise UserError(f"{link} links to itself, so the run that it links to is missing.")
    return folder

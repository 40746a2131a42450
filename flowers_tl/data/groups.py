"""Which images belong together, so that no split may separate them: by a pattern over names, or by the copies of an audit."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from flowers_tl.data.exclusions import COPIES, plain
from flowers_tl.data.splits import Groups
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.files import names_below, runs_folder, validate_ordinary
from flowers_tl.utils.notes import log_note

# Python's own matching has no limit: a pattern from a stranger's record could take years, so another process does it for so long.
MATCH = (
    "import json, re, sys; how, names = json.load(sys.stdin)\n"
    "print(json.dumps([match and match.groups('') for match in map(re.compile(how).search, names)]))"
)
MOST_SECONDS = 60


def find_groups(files: Sequence[Path], root: Path, rule: str | None) -> Groups:
    """The group of each image that is in one with others.

    Args:
        files: the images, below ``root``.
        rule: a pattern with a part in parentheses, the table audit.csv of an audit, or ``auto``, the newest audit of these images.

    Raises:
        UserError: if it is none of these, or fits no image.
    """
    if rule is None:
        return {}
    if rule == "auto":
        return read_copies(find_audit(root), files, root)
    if rule.endswith(".csv"):
        return read_copies(Path(rule).expanduser(), files, root)
    try:
        pattern = re.compile(rule)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"data.groups={rule} is no pattern ({error}): use one such as '(plant[0-9]+)_'.") from error
    if not pattern.groups:
        raise UserError(
            f"data.groups={rule} is no column, no audit.csv, and no pattern with a part in parentheses, such as '(plant[0-9]+)_'."
        )
    matches = match_all(rule, names_below(files, root))
    groups = {file: " ".join(parts) for file, parts in zip(files, matches, strict=True) if parts}
    if not groups:
        raise UserError(
            f"data.groups={rule} fits no image's path, such as {names_below(files[:1], root)[0]}: change the pattern."
        )
    if alone := [name for file, name in zip(files, names_below(files, root), strict=True) if file not in groups]:
        log_note(
            f"data.groups={rule} does not fit {len(alone):,} of {len(files):,} images, each a group of its own: {shorten(alone)}."
        )
    return groups


def match_all(rule: str, names: Sequence[str]) -> list[list[str] | None]:
    """The parts in parentheses where a pattern fits each name, or None. Raises UserError if that takes too long."""
    command, given = [sys.executable, "-I", "-S", "-c", MATCH], json.dumps([rule, names])
    try:
        matched = subprocess.run(
            command, input=given, stdout=subprocess.PIPE, text=True, timeout=MOST_SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        raise UserError(
            f"data.groups={rule} could not be compared with {len(names):,} paths within {MOST_SECONDS} s: use a simpler pattern, "
            "without a repetition within another."
        ) from error
    return json.loads(matched.stdout)


def find_audit(root: Path) -> Path:
    """audit.csv of the newest audit of the images below ``root`` in the folder of runs. Raises UserError where there is none."""
    runs = Path(runs_folder())
    for record in sorted(runs.glob("audit_*/audit.json"), key=lambda file: -file.stat().st_mtime):
        if json.loads(record.read_text(encoding="utf-8"))["data"]["root"] == str(root.resolve()):
            log_note(f"data.groups=auto takes the copies of {record.with_suffix('.csv')}.")
            return record.with_suffix(".csv")
    raise UserError(
        f"data.groups=auto finds no audit of {root} in {runs}: run python -m flowers_tl.audit on these images first, or name "
        "its audit.csv."
    )


def read_copies(file: Path, images: Iterable[Path], root: Path) -> Groups:
    """Groups of images that an audit has linked as copies. Raises UserError where its table can't be read, or has other images."""
    try:
        validate_ordinary(file)
        with open(file, encoding="utf-8", errors="surrogateescape", newline="") as text:
            rows = [(plain(row["image"]), plain(row["other"])) for row in csv.DictReader(text) if row["kind"] in COPIES]
    except (OSError, KeyError, csv.Error) as error:
        raise UserError(
            f"data.groups={file} can't be read as the audit.csv of an audit ({error}): name the right one."
        ) from error
    pairs = [[root / name for name in row] for row in rows]
    if pairs and not {file for pair in pairs for file in pair} & set(images):
        raise UserError(f"data.groups={file} is about other images than those in {root}: name the audit of these.")
    group: dict[Path, list[Path]] = {}
    for pair in pairs:
        joined = [*dict.fromkeys(member for one in pair for member in group.get(one, [one]))]
        group |= dict.fromkeys(joined, joined)
    return {member: str(of[0]) for member, of in group.items()}

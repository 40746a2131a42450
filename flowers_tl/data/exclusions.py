"""Images to leave out, as an ``audit.csv`` names them: copies in two splits, images with two labels, and what the user has confirmed."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flowers_tl.data.cached.content_hash import hash_files
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.files import names_below, validate_ordinary
from flowers_tl.utils.notes import log_note

# Of audit.csv, a row a finding: images as paths below the data's root. ``other_label`` of a suspect is the likely class.
FIELDS = ("kind", "image", "other", "split", "other_split", "label", "other_label", "score")
# Kinds whose two images are the same photograph.
COPIES = ("exact", "near")
# Why an image is left out.
TWO_LABELS, CONFIRMED = "two labels", "a confirmed finding"
Row = Mapping[str, str]


class Exclusions(NamedTuple):
    """The rows of an audit that leave images out.

    A copy in two splits and an image with two labels do, unless the user's column ``confirmed`` says ``false``; any other
    finding only if it says ``true``. A model's doubt alone leaves nothing out: that would raise its accuracy by itself.
    """

    file: Path
    rows: list[Row]

    @property
    def splits(self) -> dict[str, str]:
        """Where each image lay in the audit."""
        cells = (
            pair for row in self.rows for pair in ((row["image"], row["split"]), (row["other"], row["other_split"]))
        )
        return {image: split for image, split in cells if image}

    def find(self, splits: Mapping[str, str], measured: bool) -> dict[str, str]:
        """Why each image is left out, by its name.

        ``splits`` says in which split an image lies. Of copies in two splits the one in the later split is left out where
        accuracy is ``measured``, and the one in the earlier split where a network is trained: its test stays what it is.
        """
        why: dict[str, str] = {}
        for row in self.rows:
            sides = [image for image in (row["image"], row["other"]) if image in splits]
            if not is_copy(row):
                why |= {image: CONFIRMED for image in sides[:1] if image == row["image"]}
            elif row["label"] != row["other_label"]:
                why |= dict.fromkeys(sides, TWO_LABELS)
        for row in filter(is_copy, self.rows):
            if row["image"] in splits and row["other"] in splits:
                early, late = sorted((row["image"], row["other"]), key=lambda image: SPLITS.index(splits[image]))
                if splits[early] != splits[late]:
                    image, other = (late, early) if measured else (early, late)
                    why[image] = f"a copy in {splits[other]}"
        return why

    def measured(self, split: str, images: Sequence[str]) -> dict[str, str]:
        """Why each of a measured split's ``images`` is left out, with the splits as they were in the audit.

        Raises:
            UserError: if the audit had other images in this split, or leaves nothing.
        """
        splits, there = self.splits, set(images)
        here = {image for image, recorded in splits.items() if recorded == split}
        if wrong := [image for image, recorded in splits.items() if recorded != split and image in there]:
            raise UserError(
                f"exclude={self.file} has {wrong[0]} in {splits[wrong[0]]}, and here it is in {split}: audit the data with the "
                "same data keys as the runs."
            )
        if here and not here & there:
            raise UserError(
                f"exclude={self.file} names no image of this {split} split ({shorten(sorted(here))}): use an audit of these data."
            )
        why = {image: reason for image, reason in self.find(splits, measured=True).items() if image in there}
        if len(why) == len(there):
            raise UserError(f"exclude={self.file} leaves no {split} image: use an audit with fewer findings.")
        return why

    def leave_out(self, splits: Mapping[str, ImageSplit], root: Path) -> tuple[dict[str, ImageSplit], list[str]]:
        """Splits to train on without such images, and the names of these.

        Raises:
            UserError: if the audit names no image of these splits, or a class has nothing left in one.
        """
        names = {split: names_below(images.files, root) for split, images in splits.items()}
        places = {name: split for split in names for name in names[split]}
        if self.rows and not self.splits.keys() & places.keys():
            raise UserError(f"data.exclude={self.file} names no image in {root}: use an audit of these data.")
        out = sorted(self.find(places, measured=False))
        left = set(out)
        kept = {
            split: images.part(k for k, name in enumerate(names[split]) if name not in left)
            for split, images in splits.items()
        }
        for split, images in splits.items():
            if lost := set(images.labels) - set(kept[split].labels):
                raise UserError(
                    f"data.exclude={self.file} leaves no image of class '{images.classes[min(lost)]}' in {split}: keep one with "
                    "confirmed=false in its rows."
                )
        log_note(f"{len(out):,} of {len(places):,} images left out (data.exclude={self.file}): {shorten(out)}.")
        return kept, out


def is_copy(row: Row) -> bool:
    return row["kind"] in COPIES and bool(row["other"])


def read_exclusions(file: str | Path, key: str = "exclude") -> Exclusions:
    """Read an ``audit.csv``; ``key`` is the option that names it.

    Raises:
        UserError: if it can't be read, or is no such file.
    """
    try:
        validate_ordinary(file)
        # Spreadsheets put a mark before the first column.
        with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
            table = csv.DictReader(text)
            rows = [{name: plain(cell) for name, cell in row.items() if name} for row in table]
    except (OSError, csv.Error) as error:
        raise UserError(f"{key}={file} can't be read ({error}): use the audit.csv of an audit.") from error
    answers = [row.get("confirmed", "").lower() for row in rows]
    faults = {
        "has no column": {*FIELDS[:-1]} - {*(table.fieldnames or ())},
        "names the split": {row.get(name, "") for row in rows for name in ("split", "other_split")} - {"", *SPLITS},
        "has in its column confirmed, which takes true and false,": {*answers} - {"", "true", "false"},
    }
    for what, values in faults.items():
        if values:
            raise UserError(f"{key}={file} {what} '{min(values)}': use the audit.csv of an audit.")
    wanted = [
        answer == "true" or (is_copy(row) and answer != "false") for row, answer in zip(rows, answers, strict=True)
    ]
    return Exclusions(Path(file), [row for row, one in zip(rows, wanted, strict=True) if one])


def plain(cell: str | None) -> str:
    """A cell without the mark of :func:`flowers_tl.utils.files.csv_text`."""
    cell = cell or ""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell


def note_copies(splits: Mapping[str, ImageSplit], root: Path, cache: Cache | None) -> None:
    """Note which files are in two splits, or in two classes, byte for byte: the part of an audit that every run can afford."""
    copies: dict[bytes, dict[Path, tuple[str, int]]] = {}
    for split in SPLITS:
        images = splits[split]
        contents = hash_files(images.files, cache)
        for content, file, label in zip(contents, images.files, images.labels, strict=True):
            copies.setdefault(content, {}).setdefault(file, (split, label))
    kinds = (
        "The same images are in two splits, which makes the scores too good; keep one of each, or use data.exclude",
        "The same images are in two classes, and one of these is wrong; keep the right one, or use data.exclude",
    )
    for place, what in enumerate(kinds):
        groups = [group for group in copies.values() if len({where[place] for where in group.values()}) > 1]
        if groups:
            listed = [" = ".join(names_below(reversed(group), root)) for group in groups]
            log_note(f"{what}: {shorten(listed, 20)}.")

"""Images and their classes by a table: a row an image, as CSV, TSV, JSON lines or Parquet."""

import csv
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flowers_tl.data.cached.unreadable import find_missing
from flowers_tl.data.image_folder import OTHER_NAMES, FolderDataModule
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError, needs_extra, shorten, suggest
from flowers_tl.utils.files import validate_ordinary
from flowers_tl.utils.notes import log_note

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
# The number of a line, and its texts by column.
Line = tuple[int, dict[str, str]]


class ManifestDataModule(FolderDataModule):
    """Images that a table lists; splits that it does not name are cut out of train, as for folders of images.

    Classes are in the order of their names, and images in that of class and path, whatever the order of the lines.

    Args:
        file: the table, with one of :data:`ENDINGS`.
        root: folder from which its paths start; by default that of the table.
        path_column, label_column, split_column: names of its columns; without the last one there are no splits.
        others: as in :class:`FolderDataModule`.
    """

    name = "manifest"

    def __init__(
        self,
        file: str | None = None,
        root: str | None = None,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str | None = "split",
        **others: Any,
    ) -> None:
        if file is None:
            raise UserError(f"data=manifest needs data.file=FILE, a table ({', '.join(ENDINGS)}) with an image a line.")
        self.file = Path(file).expanduser()
        self.columns = {"path": path_column, "label": label_column, "split": split_column}
        super().__init__(root or str(self.file.parent), **others)

    def find_splits(self) -> dict[str, ImageSplit]:
        """The splits that the table names; where it names none all images are ``train``.

        Raises:
            UserError: if the table can't be read, or its lines contradict each other; it names the lines.
        """
        lines = read_lines(self.file)
        columns = self.find_columns(lines)
        rows = {key: [(number, line.get(column, "")) for number, line in lines] for key, column in columns.items()}
        for key, cells in rows.items():
            if empty := [number for number, text in cells if not text]:
                raise UserError(
                    f"{self.file} has no {columns[key]} in {name_lines(empty)}: fill them, or remove the lines."
                )
        files = self.locate(rows["path"])
        if any((by := self.cutting.groups) in line for _, line in lines):
            groups = [line.get(str(by), "") for _, line in lines]
            self.groups = {file: group for file, group in zip(files, groups, strict=True) if group}
        # The default means the column where there is one.
        if by == "group":
            self.cutting.groups = by if self.groups else None
        validate_labels(self.file, rows["label"])
        labels = [label for _, label in rows["label"]]
        splits = [split for _, split in rows["split"]] if "split" in rows else ["train"] * len(files)
        for number, split in rows.get("split", []):
            if split not in SPLITS:
                meant = OTHER_NAMES.get(split.lower(), split.lower())
                remedy = f"write {meant}" if meant in SPLITS else f"use {', '.join(SPLITS)}"
                raise UserError(f"{self.file} has the split '{split}' in line {number}: {remedy}.")
        classes = sorted(set(labels))
        self.validate_classes(self.file, classes)
        if "train" in splits and not self.unsplit:
            learned = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
            if unknown := [name for name in classes if name not in learned]:
                raise UserError(
                    f"{self.file} has no train image of class {shorten(unknown)}: add some, or remove the class."
                )
        order = sorted(range(len(files)), key=lambda k: (labels[k], os.fsencode(files[k])))
        places = {split: [k for k in order if splits[k] == split] for split in SPLITS if split in splits}
        numbers = {name: number for number, name in enumerate(classes)}
        return {
            split: ImageSplit([files[k] for k in of], [numbers[labels[k]] for k in of], classes)
            for split, of in places.items()
        }

    def find_columns(self, lines: list[Line]) -> dict[str, str]:
        """The columns that are there by their meaning. Raises UserError where path or label is not, or a named one."""
        known = list(dict.fromkeys(column for _, line in lines for column in line))
        columns = {key: name for key, name in self.columns.items() if name is not None}
        for key, column in columns.items():
            if column not in known and (key, column) != ("split", "split"):
                raise UserError(
                    f"{self.file} has no column '{column}': set data.{key}_column to the right one ({suggest(column, known)})."
                )
        return {key: column for key, column in columns.items() if column in known}

    def locate(self, paths: Iterable[Line | tuple[int, str]]) -> list[Path]:
        """The images' files, below the root. Raises UserError where one is not, comes twice, or none is there."""
        root, lines = Path(os.path.abspath(self.root)), dict[Path, list[int]]()
        for number, path in paths:
            file = Path(os.path.abspath(root / str(path)))
            if not file.is_relative_to(root):
                raise UserError(
                    f"{self.file} has a path that is not below {self.root} in line {number} ({path}): set data.root to a "
                    "folder above all images."
                )
            lines.setdefault(self.root / file.relative_to(root), []).append(number)
        if twice := [f"{file} in {name_lines(numbers)}" for file, numbers in lines.items() if len(numbers) > 1]:
            raise UserError(f"{self.file} lists images twice ({shorten(twice)}): keep one line of each.")
        if missing := find_missing(lines):
            named = [f"{file} in line {lines[file][0]}" for file in lines if file in missing]
            text = f"{self.file} lists {len(missing):,} of {len(lines):,} images that are not there, or can't be read: "
            if len(missing) == len(lines) or self.strict:
                raise UserError(
                    f"{text}{shorten(named)}; correct the paths, or set data.root to the folder that they start from."
                )
            log_note(f"{text}{shorten(named, 10)}.")
        return list(lines)


def name_lines(numbers: list[int]) -> str:
    """A few line numbers in words."""
    return f"line{'s' * (len(numbers) > 1)} {shorten(list(map(str, numbers)))}"


def validate_labels(file: Path, labels: list[tuple[int, str]]) -> None:
    """Raise UserError if two labels differ only by blanks or by how accents are coded; a note names those that differ by case."""
    first: dict[str, int] = {}
    for number, label in labels:
        first.setdefault(label, number)
    for fold, sentence in ((str, "blanks or invisible codes"), (str.casefold, "upper and lower case")):
        alike: dict[str, list[str]] = {}
        for label in first:
            alike.setdefault(fold(unicodedata.normalize("NFC", " ".join(label.split()))), []).append(label)
        for names in [names for names in alike.values() if len(names) > 1 or names[0] != names[0].strip()]:
            listed = shorten([f"{name!a} in line {first[name]}" for name in names])
            if fold is str:
                raise UserError(
                    f"{file} has labels that differ only by {sentence}, or have blanks at an end: {listed}; write them alike."
                )
            log_note(f"{file} has labels that differ only by {sentence}, and count as different classes: {listed}.")


def read_lines(file: Path) -> list[Line]:
    """The lines of a table with texts by column, an absent value as an empty text; of Parquet, rows counted from 1.

    Raises:
        UserError: if it can't be read, or has none.
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"data.file={file} is no table that can be read: use one of {', '.join(ENDINGS)}.")
    try:
        validate_ordinary(file)
        lines = list(read_parquet(file) if ending == ".parquet" else read_text(file, ending))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"data.file={file} can't be read as {ending} ({error}): repair it, or set the right file."
        ) from error
    if not lines:
        raise UserError(f"data.file={file} lists no images: it needs a line for each.")
    return lines


def read_text(file: Path, ending: str) -> Iterator[Line]:
    # Spreadsheets write a mark at the beginning.
    with open(file, encoding="utf-8-sig", newline="") as text:
        if ending == ".jsonl":
            for number, line in enumerate(text, 1):
                if line.strip():
                    if not isinstance(values := json.loads(line), dict):
                        raise ValueError(f"line {number} holds no names with values")
                    yield number, as_texts(values)
            return
        header = text.readline()
        text.seek(0)
        # So do those of half of Europe.
        comma = ";" if ";" in header and "," not in header else ","
        reader = csv.DictReader(text, delimiter="\t" if ending == ".tsv" else comma, strict=True)
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more cells than the first line")
            yield reader.line_num, as_texts(row)


def read_parquet(file: Path) -> Iterator[Line]:
    with needs_extra("pyarrow", f"data.file={file} is read with pyarrow, which is not installed", "parquet"):
        from pyarrow.parquet import read_table
    for number, row in enumerate(read_table(file).to_pylist(), 1):
        yield number, as_texts(row)


def as_texts(values: dict[str, Any]) -> dict[str, str]:
    return {str(column): "" if value is None else str(value) for column, value in values.items()}

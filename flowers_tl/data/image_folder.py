"""The user's images: one folder a class, below train, val and test or below none of them."""

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_formats import ENDINGS, is_hidden, is_image_file
from flowers_tl.data.image_io import match_images
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.notes import log_note

LAYOUT = "images as CLASS/IMAGE.jpg, or as train/CLASS/IMAGE.jpg (val, test alike)"

OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


class FolderDataModule(ImageDataModule):
    """Images in folders, which name their classes; splits that have no folder are cut out of train.

    Args:
        root: holds ``CLASS/IMAGE``, or ``train/CLASS/IMAGE`` and the like for ``val`` and ``test``.
        strict: take images that can't be read for an error, instead of leaving them out.
        others: as in :class:`ImageDataModule`.
    """

    name = "folder"

    def __init__(self, root: str | None = None, strict: bool = False, **others: Any) -> None:
        if root is None:
            raise UserError(f"data=folder needs data.root=DIR, a folder with {LAYOUT}.")
        super().__init__(root, strict=strict, **others)

    def find_splits(self) -> dict[str, ImageSplit]:
        """The splits that have folders; where there are none all images are ``train``."""
        splits = read_folder(self.root)
        self.validate_classes(self.root, next(iter(splits.values())).classes)
        return splits

    def validate_classes(self, source: Path, classes: list[str]) -> None:
        """Raise UserError for a single class, of which nothing can be learned. It can be measured, as ``unsplit`` data are."""
        if len(classes) == 1 and not self.unsplit:
            raise UserError(f"{source} has a single class, '{classes[0]}': add images of at least one more.")

    def count_classes(self) -> int:
        return self.num_classes or len(next(iter(self.find_splits().values())).classes)


def read_folder(root: Path) -> dict[str, ImageSplit]:
    """The images below ``root`` by split, in alphabetical order; classes are named for their folders and sorted.

    Hidden files and folders are passed over. Other files that are no images are left out, and a note names them.

    Raises:
        UserError: if the folders are not laid out as they should be.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is no folder: use a folder with {LAYOUT}.")
    folders, others = visible(root)
    names = [folder.name for folder in folders]
    validate_split_names(root, names)
    if names and set(names) <= set(SPLITS):
        splits = {split: read_classes(root / split, others) for split in SPLITS if split in names}
    else:
        splits = {"train": read_classes(root, others)}
    first, *rest = splits
    for split in rest:
        if unlike := sorted(set(splits[split].classes) ^ set(splits[first].classes)):
            raise UserError(
                f"The class folders of {root / split} and {root / first} differ ({shorten(unlike)} only in one of them): all "
                "splits need the same classes."
            )
    if others:
        left_out = shorten([str(file.relative_to(root)) for file in sorted(set(others))])
        log_note(
            f"Unused files in {root}, since they are no images ({', '.join(ENDINGS)}) or in no class folder: {left_out}."
        )
    return splits


def validate_split_names(root: Path, folders: Collection[str]) -> None:
    """Raise UserError if all folders are splits by other names, such as ``training``: they are no classes."""
    meant = {name: OTHER_NAMES.get(name.lower(), name.lower()) for name in folders}
    unlike = [name for name, split in meant.items() if name != split]
    if unlike and set(meant.values()) <= set(SPLITS):
        raise UserError(f"{root / unlike[0]} should be called {meant[unlike[0]]}: splits are {', '.join(SPLITS)}.")


def read_classes(folder: Path, others: list[Path]) -> ImageSplit:
    """The images in class folders. Visible files that are no images, or lie beside these folders, are added to ``others``."""
    folders, beside = visible(folder)
    others += beside
    if not folders:
        raise UserError(f"{folder} holds no class folders: it should hold one folder of images for each class.")
    alike: dict[str, list[str]] = {}
    for name in [folder.name for folder in folders]:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for names in [names for names in alike.values() if len(names) > 1]:
        log_note(f"Classes in {folder} that look alike, but count as different: {', '.join(map(ascii, names))}.")
    files: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(folders):
        nested, inside = visible(class_folder)
        if deep := next((image for folder in nested for image in match_images(str(folder))), None):
            raise UserError(
                f"{deep} is in a subfolder of the class folder {class_folder}: the folder data.root should have {LAYOUT}."
            )
        images = [file for file in inside if is_image_file(file)]
        if not images:
            raise UserError(
                f"The class folder {class_folder} holds no images ({', '.join(ENDINGS)}): add some, or remove it."
            )
        files += images
        labels += [label] * len(images)
        others += [file for file in inside if not is_image_file(file)]
    # As text whatever the bytes of the name are, since it goes into texts everywhere.
    return ImageSplit(files, labels, [os.fsencode(folder.name).decode(errors="backslashreplace") for folder in folders])


def visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files directly in a folder, in alphabetical order, without hidden ones and those of the system."""
    # By the bytes of their names, which are in the order of the letters, whatever the terminal's encoding.
    entries = sorted((e for e in folder.iterdir() if not is_hidden(e.name)), key=lambda e: os.fsencode(e.name))
    # The runs' own folder, where no images lie in it.
    entries = [e for e in entries if e.name != "outputs" or not e.is_dir() or any(map(is_image_file, e.iterdir()))]
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]

"""The user's own images: one folder a class, below train, val and test or below none of them."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from flowers_tl.data.cached.content_hash import hash_files
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_io import ENDINGS, is_image_file
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.notes import log_note

LAYOUT = "one folder of images a class, or folders train, val and test with such folders in each"

OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


class FolderDataModule(ImageDataModule):
    """Images in folders, which name their classes; splits that have no folder are cut out of train.

    Args:
        root: holds ``CLASS/PICTURE``, or ``train/CLASS/PICTURE`` and the like for ``val`` and ``test``.
        strict: refuse images that can't be read, instead of leaving them out.
        others: as in :class:`ImageDataModule`.
    """

    name = "folder"

    def __init__(self, root: str | None = None, strict: bool = False, **others: Any) -> None:
        if root is None:
            raise UserError(f"data=folder needs data.root=DIR: {LAYOUT}.")
        super().__init__(root, strict=strict, **others)

    def find_splits(self) -> dict[str, ImageSplit]:
        """The splits that have folders; where there are none all images are ``train``."""
        return read_folder(self.root)

    def count_classes(self) -> int:
        return self.num_classes or len(next(iter(self.find_splits().values())).classes)

    def fingerprints(self) -> dict[str, str]:
        """As of every set; tells of images that are in two splits, which make scores look better than they are."""
        known: dict[bytes, Path] = {}
        copies = []
        for split in SPLITS:
            files = self.whole[split].files
            own = dict(zip(hash_files(files, self.cache), files, strict=True))
            copies += [(file, known[content]) for content, file in own.items() if known.get(content, file) != file]
            known |= own
        if copies:
            pairs = [" = ".join(str(file.relative_to(self.root)) for file in pair) for pair in copies]
            log_note(
                f"Images that are in two splits, byte for byte, flatter the scores; keep one of each: {shorten(pairs)}."
            )
        return super().fingerprints()


def read_folder(root: Path) -> dict[str, ImageSplit]:
    """The images below ``root`` by split, in alphabetical order; classes are named for their folders and sorted.

    Hidden files and folders are passed over. What else is no image is told, and left out.

    Raises:
        UserError: if the folders are not laid out as they should be.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is no folder: name one that holds {LAYOUT}.")
    folders, beside = visible(root)
    splits = {folder.name: folder for folder in folders}
    validate_split_names(root, splits)
    if not splits or not set(splits) <= set(SPLITS):
        found = {"train": read_classes(root)}
    else:
        found = {split: read_classes(splits[split]) for split in SPLITS if split in splits}
    others = {split: own for split, (own, _) in found.items()}
    first = next(iter(others))
    for split, own in others.items():
        if unlike := sorted(set(own.classes) ^ set(others[first].classes)):
            raise UserError(
                f"{root / split} and {root / first} have unlike class folders ({shorten(unlike)} only in one of them): all "
                "splits need the same."
            )
    if left := sorted({*beside, *(file for _, more in found.values() for file in more)}):
        names = shorten([str(file.relative_to(root)) for file in left])
        log_note(f"Left out below {root}, being no images ({', '.join(ENDINGS)}) or in no class folder: {names}.")
    return others


def validate_split_names(root: Path, folders: Collection[str]) -> None:
    """Raise UserError if all folders are splits by names that others give them: taken for classes they would be nonsense."""
    meant = {name: OTHER_NAMES.get(name.lower(), name.lower()) for name in folders}
    unlike = [name for name, split in meant.items() if name != split]
    if unlike and set(meant.values()) <= set(SPLITS):
        raise UserError(f"{root / unlike[0]} should be called {meant[unlike[0]]}: splits are {', '.join(SPLITS)}.")


def read_classes(folder: Path) -> tuple[ImageSplit, list[Path]]:
    """The images in class folders, and the visible files that are none or lie beside these folders."""
    folders, others = visible(folder)
    if not folders:
        raise UserError(f"{folder} holds no class folders: it should hold one folder of images for each class.")
    if len(folders) == 1:
        raise UserError(
            f"{folders[0]} is the only class in {folder}: there is nothing to tell it from; add another folder."
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, own in enumerate(folders):
        nested, inside = visible(own)
        if deep := next((file for file in images_below(nested)), None):
            raise UserError(f"{deep} lies deeper than in a class folder, {own}: there should be {LAYOUT}.")
        images = [file for file in inside if is_image_file(file)]
        if not images:
            raise UserError(f"The class folder {own} holds no images ({', '.join(ENDINGS)}): add some, or remove it.")
        files += images
        labels += [label] * len(images)
        others += [file for file in inside if not is_image_file(file)]
    return ImageSplit(files, labels, [own.name for own in folders]), others


def visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files directly in a folder, in alphabetical order, without hidden ones."""
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name)
    return [entry for entry in entries if entry.is_dir()], [entry for entry in entries if not entry.is_dir()]


def images_below(folders: Sequence[Path]) -> Iterator[Path]:
    """The images in the folders, and in those below."""
    for folder in folders:
        inner, files = visible(folder)
        yield from filter(is_image_file, files)
        yield from images_below(inner)

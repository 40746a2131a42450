"""A set's decoded images: each is decoded once, whichever splits, protocol or part of them a run takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flowers_tl.data.cached.decoded_images import ImageStore, open_store
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.files import UncachedImages
from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.image_io import read_image
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.notes import print_note


class DecodedSplits:
    """Stores of the images of splits, opened when they are wanted.

    Args:
        name: of the set, for a reader.
        found: the set's splits, with images that are there.
        cache: where the stores are kept.
        checked: whether it is asked beforehand which images can't be decoded. Only then are those of test looked at
            before the test.
    """

    def __init__(self, name: str, found: Mapping[str, ImageSplit], cache: Cache, checked: bool) -> None:
        self.name, self.cache, self.checked = name, cache, checked
        self.together = [SPLITS] if checked else [("train", "val"), ("test",)]
        self.files = {  # in an order that does not follow from which of these splits they are in
            splits: sorted({file for split in splits for file in found[split].files}, key=str)
            for splits in self.together
        }
        self.opened: dict[tuple[Sequence[str], int], ImageStore | UncachedImages] = {}

    def of(self, split: str, files: Sequence[Path], side: int | None) -> ImageStore | UncachedImages:
        """A store of some of a split's files, in their order, with the short side in pixels; None: as large as they are."""
        if side is None:  # needed of train alone
            return self._open(files, None, split)
        splits = next(splits for splits in self.together if split in splits)
        row = {file: index for index, file in enumerate(self.files[splits])}
        return self._all(splits, side).part([row[file] for file in files])

    def undecodable(self, side: int) -> set[Path]:
        """The files that can't be decoded, found while they are decoded with this short side, where that is kept."""
        files, store = self.files[SPLITS], self._all(SPLITS, side)
        return {files[k] for k in store.undecodable} if store.kept else find_undecodable(files, self.cache)

    def _all(self, splits: Sequence[str], side: int) -> ImageStore | UncachedImages:
        if (splits, side) not in self.opened:
            self.opened[splits, side] = self._open(self.files[splits], side, ", ".join(splits))
        return self.opened[splits, side]

    def _open(self, files: Sequence[Path], side: int | None, whose: str) -> ImageStore | UncachedImages:
        size = f"short side {side}" if side else "full size"
        what = f"{self.name}, {whose}: {len(files):,} decoded images, {size}"
        store = open_store(self.cache, files, side, read_image, what, lenient=self.checked)
        if not store.kept:
            print_note(f"{what}, have no room in half of cache.max_gb: they are decoded whenever they are needed.")
        return store

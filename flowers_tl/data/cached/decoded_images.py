"""Decoded images, out of the cache or decoded whenever they are needed; they keep their shape, (height, width, 3) uint8."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from flowers_tl.data.cached.content_hash import describe_images
from flowers_tl.data.cached.decode_files import decode, decode_all, processes_are_faster, split_rows
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.cached.writer import Writer
from flowers_tl.data.image_io import Limits, read_image, read_image_size
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.data.transforms import ARTICLE, Preprocessing
from flowers_tl.utils.errors import first_line
from flowers_tl.utils.notes import log_note, track
from flowers_tl.utils.threads import map_in_threads

Files = Sequence[Path]
Kept = Sequence[Tensor] | None
# Headers that are read to estimate how much a set takes.
SAMPLED = 256


class DecodedImages:
    """The images of files, in their order: ``images[i]`` is uint8 (height, width, 3).

    Args:
        files: their paths.
        short_side: to which each is resized, in pixels; None: none is resized.
        kept: the images, where they are in the cache; None decodes an image whenever it is needed.
        value_range: see :func:`flowers_tl.data.image_io.to_rgb`.
        mapped: the file that ``kept`` lies in, where it is one.
        preprocessing: by which they are resized.
        costs: of ``kept``, see :class:`flowers_tl.data.cached.disk_cache.Entry`.
    """

    def __init__(
        self,
        files: Files,
        short_side: int | None,
        kept: Kept = None,
        value_range: Limits = None,
        mapped: Path | None = None,
        preprocessing: Preprocessing = ARTICLE,
        costs: Mapping[str, float | None] | None = None,
    ) -> None:
        self.files, self.short_side, self.kept, self.value_range = files, short_side, kept, value_range
        self.mapped, self.preprocessing, self.costs = mapped, preprocessing, costs or {}

    # Mapped memory can't be handed to a worker process that was not forked: that one maps the file itself.
    def __getstate__(self) -> dict[str, Any]:
        places = [(image.storage_offset(), image.shape) for image in self.kept or ()]
        return vars(self) | ({"kept": places} if self.mapped else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.mapped:
            try:
                flat = torch.from_file(str(self.mapped), size=self.mapped.stat().st_size, dtype=torch.uint8)
                self.kept = [flat[start : start + prod(shape)].view(shape) for start, shape in self.kept]
            # Somebody has removed it to make room.
            except (OSError, RuntimeError):
                self.kept = self.mapped = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        if self.kept is not None:
            return self.kept[index]
        return decode(self.files[index], self.short_side, self.value_range, preprocessing=self.preprocessing)

    def take(self, indices: Sequence[int]) -> list[Tensor]:
        """Some of the images, decoded on all cores, unless this is a worker process, of which there are several."""
        if self.kept is not None or get_worker_info() is not None:
            return [self[index] for index in indices]
        return list(map_in_threads(self.__getitem__, indices))

    def part(self, files: Sequence[Path]) -> "DecodedImages":
        """Some of the images, in the order of these files; the bytes are shared."""
        if self.kept is None:
            return DecodedImages(files, self.short_side, value_range=self.value_range, preprocessing=self.preprocessing)
        kept = dict(zip(self.files, self.kept, strict=True))
        images = [kept[file] for file in files]
        return DecodedImages(files, self.short_side, images, self.value_range, self.mapped, costs=self.costs)

    def to(self, device: torch.device) -> "DecodedImages":
        """The images held on a device, if they are kept and there is room for them (:func:`has_room`)."""
        size = sum(map(Tensor.numel, self.kept or ()))
        if not self.kept or self.kept[0].device == device or not has_room(device, size):
            return self
        # One by one: to lay them out in memory first takes longer, and as much memory again.
        flat = torch.empty(size, dtype=torch.uint8, device=device)
        rows = split_rows(flat, [image.shape for image in self.kept])
        for row, image in zip(rows, self.kept, strict=True):
            row.copy_(image)
        return DecodedImages(self.files, self.short_side, rows, costs=self.costs)

    @property
    def undecodable(self) -> list[Path]:
        """The files that could not be decoded when their images were put into the cache; these have no pixels."""
        return [file for file, image in zip(self.files, self.kept or (), strict=False) if not image.numel()]


def has_room(device: torch.device, size: int) -> bool:
    """Whether ``size`` bytes may be held on a device: a GPU, of whose free memory they take less than a quarter."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 4


def open_images(
    cache: Cache | None,
    files: Files,
    side: int | None,
    what: str,
    lenient: bool = False,
    value_range: Limits = None,
    preprocessing: Preprocessing = ARTICLE,
) -> DecodedImages:
    """The decoded images of ``files``: put into the cache first, on all cores, unless they would take more than half of it.

    Args:
        cache: where they are kept; None keeps none.
        files: images, in the order in which they are wanted.
        side: to which the short side of each is resized, in pixels; None: none is resized.
        what: what they are, in words for a reader.
        lenient: let an image that can't be decoded be one without pixels.
        value_range, preprocessing: see DecodedImages.

    Raises:
        UserError: if an image can't be read, unless ``lenient``.
    """
    afresh = DecodedImages(files, side, value_range=value_range, preprocessing=preprocessing)
    if cache is None:
        return afresh
    # Half is left to what the frozen stages make of them, which is worth more.
    if not cache.fits(2 * decoded_size(files, side)):
        log_note(f"Decoded again each time, since half of cache.max_gb is too small: {what}.")
        return afresh

    def build(writer: Writer, in_processes: bool) -> None:
        images = decode_all(files, side, value_range, lenient, preprocessing, in_processes)
        for image in track(images, what, cache.progress, len(files)):
            writer.write(image)

    description, in_processes = (
        describe_images(files, side, cache, value_range, preprocessing),
        processes_are_faster(files, side),
    )
    try:
        entry = cache.get("pictures", what, description, "decode", partial(build, in_processes=in_processes))
    # Mostly for lack of memory.
    except RuntimeError as error:
        if not in_processes:
            raise
        log_note(f"The system ended a process that decodes images ({first_line(error)}); threads decode them now.")
        entry = cache.get("pictures", what, description, "decode", partial(build, in_processes=False))
    mapped = cache.path("pictures", description) / "data.bin"
    rows = split_rows(entry.tensor(torch.uint8), entry.shapes)
    images = DecodedImages(files, side, rows, value_range, mapped, costs=entry.costs)
    # A lenient run may have kept them.
    if images.undecodable and not lenient:
        read_image(images.undecodable[0], value_range=value_range)
    return images


def decoded_size(files: Sequence[Path], short_side: int | None) -> float:
    """About how many bytes the decoded images take: by the headers of some, which are spread evenly over them."""
    sizes = [size for file in files[:: -(-len(files) // SAMPLED)] if (size := read_image_size(file))]
    pixels = [short_side**2 * max(size) / min(size) if short_side else prod(size) for size in sizes]
    return 3 * len(files) * sum(pixels) / max(1, len(pixels))


class DecodedSplits:
    """The decoded images of a data set's splits, which are opened when they are needed.

    Each image is decoded once, whichever splits, protocol or part of them a run takes.

    Args:
        name: of the data set, for a reader.
        splits: with images that are there.
        cache, value_range, preprocessing: as for :func:`open_images`.
        checked: whether :meth:`undecodable` will be called. Else the test images are not read before the test.
    """

    def __init__(
        self,
        name: str,
        splits: Mapping[str, ImageSplit],
        cache: Cache | None,
        checked: bool,
        value_range: Limits,
        preprocessing: Preprocessing = ARTICLE,
    ) -> None:
        self.name, self.cache, self.checked, self.value_range, self.preprocessing = (
            name,
            cache,
            checked,
            value_range,
            preprocessing,
        )
        # The order does not depend on which of these splits an image is in.
        self.files = {
            group: sorted({file for split in group for file in splits[split].files}, key=str)
            for group in ([SPLITS] if checked else [("train", "val"), ("test",)])
        }
        self.opened: dict[tuple[Sequence[str], int], DecodedImages] = {}

    def of(self, split: str, files: Sequence[Path], side: int | None) -> DecodedImages:
        """Some of a split's images, in the order of the files, with this short side in pixels; None: as large as they are."""
        # Only train is read in full size.
        if side is None:
            return self._open(files, None, split)
        return self._group(next(group for group in self.files if split in group), side).part(files)

    def undecodable(self, side: int) -> set[Path]:
        """The files that can't be decoded; where there is room for it, decoding them puts them into the cache."""
        held = self._group(SPLITS, side)
        return (
            find_undecodable(held.files, self.cache, self.value_range) if held.kept is None else set(held.undecodable)
        )

    def _group(self, group: Sequence[str], side: int) -> DecodedImages:
        if (group, side) not in self.opened:
            self.opened[group, side] = self._open(self.files[group], side, ", ".join(group))
        return self.opened[group, side]

    def _open(self, files: Sequence[Path], side: int | None, splits: str) -> DecodedImages:
        size = f"short side {side}" if side else "full size"
        what = f"{self.name}, {splits}: {len(files):,} decoded images, {size}"
        return open_images(self.cache, files, side, what, self.checked, self.value_range, self.preprocessing)

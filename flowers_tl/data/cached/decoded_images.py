"""The decoded store: each image of a set is decoded and resized once, and mapped by every later run.

Images keep their shape, (height, width, 3) uint8, and lie one after another. What is cut out of them equals, bit for
bit, what the article's transforms make of the file: these resize with Pillow too, and crops and flips only move bytes.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from flowers_tl.data.cached.content_hash import hash_files
from flowers_tl.data.cached.disk_cache import Cache, Entry, Writer
from flowers_tl.data.cached.files import UncachedImages, decode
from flowers_tl.data.image_io import READING, Undecodable, read_image_size
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.transforms import Window, centre_window, random_window

Key = int | tuple[int, int]
SAMPLED = 256  # headers that are read to tell how much a set takes
NOTHING = torch.empty(0, 0, 3, dtype=torch.uint8)  # in the place of an image that can't be decoded


class ImageStore:
    """Decoded images in their order: ``store[i]`` is (height, width, 3) uint8, a view of the mapped file."""

    kept = True

    def __init__(self, entry: Entry) -> None:
        self.shapes = [tuple(shape) for shape in entry.shapes]
        self.starts = np.cumsum([0, *(h * w * c for h, w, c in self.shapes)])[:-1]
        self.bytes = entry.tensor(torch.uint8)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Tensor:
        height, width, channels = self.shapes[index]
        start = self.starts[index]
        return self.bytes[start : start + height * width * channels].view(height, width, channels)

    @property
    def undecodable(self) -> list[int]:
        """Indices of the images that could not be decoded; they have no pixels."""
        return [index for index, shape in enumerate(self.shapes) if not shape[0]]

    @property
    def device(self) -> torch.device:
        return self.bytes.device

    def take(self, indices: Sequence[int]) -> list[Tensor]:
        """Some of the images."""
        return [self[index] for index in indices]

    def part(self, rows: Sequence[int]) -> "ImageStore":
        """A store of some of the images, in the order of their rows; the bytes are shared."""
        part = copy.copy(self)
        part.shapes, part.starts = [self.shapes[row] for row in rows], self.starts[list(rows)]
        return part

    def to(self, device: torch.device) -> "ImageStore":
        """Hold the images on a GPU, if there is room for them (:func:`has_room`)."""
        sizes = [height * width * channels for height, width, channels in self.shapes]
        if has_room(device, sum(sizes)):
            self.bytes = torch.cat([image.flatten() for image in self.take(range(len(self)))]).to(device)
            self.starts = np.cumsum([0, *sizes])[:-1]
        return self


def has_room(device: torch.device, size: int) -> bool:
    """Whether ``size`` bytes may be held on a device: a GPU, of whose free memory they take less than a quarter."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 4


def describe_images(files: Sequence[Path], short_side: int | None, cache: Cache | None) -> dict[str, Any]:
    """All that decoded images follow from, as plain Python: a key of the cache, from which the files' bytes are known."""
    versions = {"reading": READING, "pillow": PIL.__version__, "torchvision": torchvision.__version__}
    content = hashlib.sha256(b"".join(hash_files(files, cache))).hexdigest()
    return {"contents": content, "pictures": len(files), "short_side": short_side, **versions}


def open_store(
    cache: Cache,
    files: Sequence[Path],
    short_side: int | None,
    read: Callable[[Path], Image.Image],
    what: str,
    lenient: bool = False,
) -> ImageStore | UncachedImages:
    """The store of ``files``, which is built first if need be, on all cores; where it would
    take more than half of the cache, one that decodes.

    Args:
        cache: where it is kept.
        files: images, in the order in which they are wanted.
        short_side: to which each is resized, in pixels; None keeps them as they are.
        read: decodes a file to RGB.
        what: what they are, in words for a reader.
        lenient: let an image that can't be decoded be one without pixels.

    Raises:
        UserError: if an image can't be read, unless ``lenient``.
    """
    if not cache.fits(2 * decoded_size(files, short_side)):  # half is left to what is made of them, which is worth more
        return UncachedImages(files, short_side, read)

    def attempt(file: Path) -> Tensor:
        try:
            return decode(file, short_side, read)
        except Undecodable:
            if lenient:
                return NOTHING
            raise

    def build(writer: Writer) -> None:
        groups = [files[start : start + 64] for start in range(0, len(files), 64)]
        with ThreadPoolExecutor(cpu_count()) as pool:  # Pillow decodes and resizes without holding Python's lock
            for group in cache.shown(groups, what):
                for image in pool.map(attempt, group):
                    writer.write(image)

    store = ImageStore(cache.get("pictures", what, describe_images(files, short_side, cache), "decode", build))
    if store.undecodable and not lenient:  # kept by a run that was
        read(files[store.undecodable[0]])
    return store


def decoded_size(files: Sequence[Path], short_side: int | None) -> float:
    """About how many bytes the decoded images take: by the headers of some, which are spread evenly over them."""
    sizes = [size for file in files[:: -(-len(files) // SAMPLED)] if (size := read_image_size(file))]
    pixels = [short_side**2 * max(size) / min(size) if short_side else size[0] * size[1] for size in sizes]
    return 3 * len(files) * sum(pixels) / max(1, len(pixels))


class ImageCrops(Dataset):
    """A split's images cut out of a store, a batch at a time: uint8 (n, 3, size, size), with labels int64 (n,).

    Args:
        store: holds the images; batches are made on its device.
        labels: one an image.
        size: side of the crop, in pixels.
        seed: from which, with epoch and index, random windows follow; None takes the centre.
        augment: makes a PIL image into a uint8 tensor (3, size, size) at random, in the place of random windows.
    """

    def __init__(
        self,
        store: ImageStore | UncachedImages,
        labels: Sequence[int],
        size: int,
        seed: int | None = None,
        augment: Callable[[Image.Image], Tensor] | None = None,
    ) -> None:
        self.store, self.labels, self.size = store, torch.tensor(labels), size
        self.seed, self.augment = seed, augment

    @property
    def ready(self) -> bool:
        """Whether a batch is cut out faster than a worker process could hand it over."""
        return self.store.kept and self.augment is None

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images and labels of the keys: indices, or where windows are random ``(epoch, index)`` pairs."""
        # Lightning's overfit_batches puts a sampler of plain indices in the place of ours: one epoch over and over.
        pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
        indices = [index for _, index in pairs]
        images, labels = self.store.take(indices), self.labels[indices]
        if self.augment is not None:
            return torch.stack([self._augmented(p, *pair) for p, pair in zip(images, pairs, strict=True)]), labels
        windows = [self._window(p.shape, *pair) for p, pair in zip(images, pairs, strict=True)]
        # Where the images are: bytes are only moved. Height, width, channels: the order that convolutions are fast in.
        cut = torch.empty(len(pairs), self.size, self.size, 3, dtype=torch.uint8, device=self.store.device)
        for k, (image, window) in enumerate(zip(images, windows, strict=True)):
            down, right = (slice(start, start + self.size) for start in window[:2])
            cut[k] = image[down, right]
        flipped = torch.tensor([window.flip for window in windows], device=cut.device)
        cut[flipped] = cut[flipped].flip(2)
        return cut.permute(0, 3, 1, 2), labels

    def _window(self, shape: Sequence[int], epoch: int, index: int) -> Window:
        height, width, _ = shape
        if self.seed is None:
            return centre_window(height, width, self.size)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, index))
        return random_window(height, width, self.size, generator)

    def _augmented(self, image: Tensor, epoch: int, index: int) -> Tensor:
        # Only the CPU's generator is forked and seeded: torch.manual_seed would reset the GPU's too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, epoch, index))
            return self.augment(Image.fromarray(image.cpu().numpy()))

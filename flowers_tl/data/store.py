"""The decoded store: each picture of a split is decoded and resized once, and mapped by every later run.

Pictures keep their shape, (height, width, 3) uint8, and lie one after another. What is cut out of them equals, bit for
bit, what the article's transforms make of the file: these resize with Pillow too, and crops and flips only move bytes.
"""

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
from torchvision.transforms import v2

from flowers_tl.data.cache import Cache, Entry, Writer
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.transforms import Window, centre_window, random_window

Key = int | tuple[int, int]


class PictureStore:
    """Decoded pictures in their order: ``store[i]`` is (height, width, 3) uint8, a view of the mapped file."""

    def __init__(self, entry: Entry) -> None:
        self.shapes = [tuple(shape) for shape in entry.shapes]
        self.starts = np.cumsum([0, *(h * w * c for h, w, c in self.shapes)])
        self.bytes = entry.tensor(torch.uint8)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Tensor:
        return self.bytes[self.starts[index] : self.starts[index + 1]].view(self.shapes[index])

    def to(self, device: torch.device) -> "PictureStore":
        """Hold the pictures on a GPU, if they take less than a quarter of what is free there."""
        if device.type == "cuda" and self.bytes.nbytes < torch.cuda.mem_get_info(device)[0] / 4:
            self.bytes = self.bytes.to(device)
        return self


def stamp(files: Sequence[Path]) -> str:
    """A hash of the files' names, sizes and times of change: while it is the same, the files count as the same."""
    digest = hashlib.sha256()
    for file in files:
        state = file.stat()
        digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def describe(files: Sequence[Path], short_side: int | None) -> dict[str, Any]:
    """All that a split's decoded pictures follow from, as plain Python: a key of the cache."""
    versions = {"pillow": PIL.__version__, "torchvision": torchvision.__version__}
    return {"files": stamp(files), "pictures": len(files), "short_side": short_side, **versions}


def open_store(
    cache: Cache,
    files: Sequence[Path],
    short_side: int | None,
    read: Callable[[Path], Image.Image],
    what: str,
) -> PictureStore:
    """The store of ``files``, which is built first if need be, on all cores.

    Args:
        cache: where it is kept.
        files: pictures, in the order in which they are wanted.
        short_side: to which each is resized, in pixels; None keeps them as they are.
        read: decodes a file to RGB.
        what: what they are, in words for a reader.
    """
    resize = v2.Resize(short_side) if short_side else lambda picture: picture

    def build(writer: Writer) -> None:
        groups = [files[start : start + 64] for start in range(0, len(files), 64)]
        with ThreadPoolExecutor(cpu_count()) as pool:  # Pillow decodes and resizes without holding Python's lock
            for group in cache.shown(groups, what):
                for picture in pool.map(lambda file: np.array(resize(read(file))), group):
                    writer.write(torch.from_numpy(picture))

    return PictureStore(cache.get("pictures", what, describe(files, short_side), "decode", build))


class StoredPictures(Dataset):
    """A split's pictures cut out of a store, a batch at a time: uint8 (n, 3, size, size), with labels int64 (n,).

    Args:
        store: holds the pictures; batches are made on its device.
        labels: one a picture.
        size: side of the crop, in pixels.
        seed: from which, with epoch and index, random windows follow; None takes the centre.
        augment: makes a PIL picture into a uint8 tensor (3, size, size) at random, in the place of random windows.
    """

    def __init__(
        self,
        store: PictureStore,
        labels: Sequence[int],
        size: int,
        seed: int | None = None,
        augment: Callable[[Image.Image], Tensor] | None = None,
    ) -> None:
        self.store, self.labels, self.size = store, torch.tensor(labels), size
        self.seed, self.augment = seed, augment

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        pictures, labels = self.__getitems__([key])
        return pictures[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Pictures and labels of the keys: indices, or where windows are random ``(epoch, index)`` pairs."""
        # Lightning's overfit_batches puts a sampler of plain indices in the place of ours: one epoch over and over.
        pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
        labels = self.labels[[index for _, index in pairs]]
        if self.augment is not None:
            return torch.stack([self._augmented(*pair) for pair in pairs]), labels
        windows = [self._window(*pair) for pair in pairs]
        # Where the pictures are: bytes are only moved. Height, width, channels: the order that convolutions are fast in.
        cut = torch.empty(len(pairs), self.size, self.size, 3, dtype=torch.uint8, device=self.store.bytes.device)
        for k, ((_, index), window) in enumerate(zip(pairs, windows, strict=True)):
            down, right = (slice(start, start + self.size) for start in window[:2])
            cut[k] = self.store[index][down, right]
        flipped = torch.tensor([window.flip for window in windows], device=cut.device)
        cut[flipped] = cut[flipped].flip(2)
        return cut.permute(0, 3, 1, 2), labels

    def _window(self, epoch: int, index: int) -> Window:
        height, width, _ = self.store.shapes[index]
        if self.seed is None:
            return centre_window(height, width, self.size)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, index))
        return random_window(height, width, self.size, generator)

    def _augmented(self, epoch: int, index: int) -> Tensor:
        picture = Image.fromarray(self.store[index].cpu().numpy())
        # Only the CPU's generator is forked and seeded: torch.manual_seed would reset the GPU's too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, epoch, index))
            return self.augment(picture)

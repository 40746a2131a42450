"""Images that are decoded whenever they are asked for, because nothing is kept or there is no room."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from torchvision.transforms import v2

from flowers_tl.data.image_io import read_image
from flowers_tl.data.splits import ImageSplit


class ImageFiles(Dataset):
    """A split's images under a transform, one at a time: float32 (3, size, size), with its label."""

    def __init__(self, split: ImageSplit, transform: Callable[[Image.Image], Tensor]) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(read_image(self.split.files[index])), self.split.labels[index]


class UncachedImages:
    """In the place of a store that would be too large: ``pictures[i]`` is (height, width, 3) uint8."""

    kept, device = False, torch.device("cpu")

    def __init__(self, files: Sequence[Path], short_side: int | None, read: Callable[[Path], Image.Image]) -> None:
        self.files, self.short_side, self.read = list(files), short_side, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return decode(self.files[index], self.short_side, self.read)

    def take(self, indices: Sequence[int]) -> list[Tensor]:
        """Some of the images, decoded on all cores, unless this is a worker process, of which there are several."""
        if get_worker_info() is not None:
            return [self[index] for index in indices]
        with ThreadPoolExecutor(cpu_count()) as pool:
            return list(pool.map(self.__getitem__, indices))

    def part(self, rows: Sequence[int]) -> "UncachedImages":
        """Some of the images, in the order of their rows."""
        return UncachedImages([self.files[row] for row in rows], self.short_side, self.read)

    def to(self, device: torch.device) -> "UncachedImages":
        """They stay where they are decoded."""
        return self


def decode(file: Path, short_side: int | None, read: Callable[[Path], Image.Image]) -> Tensor:
    """Read an image and resize its short side, in pixels, if one is named: uint8 (height, width, 3)."""
    image = read(file)
    return torch.from_numpy(np.array(v2.functional.resize(image, [short_side]) if short_side else image))

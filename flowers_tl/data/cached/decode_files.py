"""Image files become decoded images, in their order, on all cores: with threads, or on many cores with processes.

A decoder takes and gives back Python's lock several times an image. Four threads do not mind; sixteen mostly wait for it,
and take as long as four.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader, Dataset, get_worker_info

from flowers_tl.data import image_bounds
from flowers_tl.data.image_io import Limits, Undecodable, read_image
from flowers_tl.data.transforms import ARTICLE, Preprocessing
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.threads import count_cores, exit_with_parent, map_in_threads

# In the place of an image that can't be decoded.
UNREADABLE = torch.empty(0, 0, 3, dtype=torch.uint8)
# From more cores and images on processes are faster than threads, their start included.
MOST_THREADS, FEW_IMAGES = 4, 2000
# Images that a process decodes before it hands them over, through shared memory of which there must be so many bytes.
BATCH, SHARED_MEMORY = 16, 2**30


def decode(
    file: Path,
    short_side: int | None,
    value_range: Limits = None,
    lenient: bool = False,
    preprocessing: Preprocessing = ARTICLE,
) -> Tensor:
    """Read an image and resize its short side: uint8 (height, width, 3). A ``lenient`` call yields UNREADABLE of a damaged one."""
    try:
        image = read_image(file, value_range=value_range)
    except Undecodable:
        if lenient:
            return UNREADABLE
        raise
    return torch.from_numpy(np.array(preprocessing.resized(image, short_side) if short_side else image))


def decode_all(
    files: Sequence[Path],
    short_side: int | None,
    value_range: Limits,
    lenient: bool,
    preprocessing: Preprocessing,
    in_processes: bool,
) -> Iterator[Tensor]:
    """The images of files in their order, as :func:`decode` yields each; ``in_processes``, or with threads.

    Raises:
        UserError: if an image can't be read, unless ``lenient``.
        RuntimeError: if the system ends one of the processes; at any time until the last image is taken.
    """
    read = partial(decode, short_side=short_side, value_range=value_range, lenient=lenient, preprocessing=preprocessing)
    if not in_processes:
        yield from map_in_threads(read, files)
        return
    loader = DataLoader(
        FileReader(read, files),
        batch_size=BATCH,
        num_workers=count_cores(),
        collate_fn=join_images,
        worker_init_fn=start_worker,
        # Beginning to read draws no random number of the run's.
        generator=torch.Generator(),
        multiprocessing_context="fork",
    )
    for pixels, shapes, error in loader:
        if error:
            raise error
        yield from split_rows(pixels, shapes)


def split_rows(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Views of tensors that lie one after another."""
    return [row.view(*shape) for row, shape in zip(flat.split([prod(s) for s in shapes]), shapes, strict=True)]


def processes_are_faster(files: Sequence[Path], short_side: int | None) -> bool:
    """Whether processes decode these images faster than threads: on many cores, where processes start quickly.

    Images that keep their size may be too large to wait for each other in shared memory.
    """
    if short_side is None or len(files) < FEW_IMAGES or count_cores() <= MOST_THREADS or sys.platform != "linux":
        return False
    with suppress(OSError):
        return shutil.disk_usage("/dev/shm").free > SHARED_MEMORY
    return False


class FileReader(Dataset):
    """What ``read`` makes of each file: an image, or the UserError that it raised."""

    def __init__(self, read: partial[Tensor], files: Sequence[Path]) -> None:
        self.read, self.files = read, files
        self.lock = get_context("fork").Lock()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | UserError:
        try:
            return self.read(self.files[index])
        # PyTorch would put a traceback into its message.
        except UserError as error:
            return error


def start_worker(number: int) -> None:
    """Let a worker process end with its parent, and decode no large image while another process does."""
    exit_with_parent(number)
    image_bounds.alone = get_worker_info().dataset.lock


def join_images(images: list[Tensor | UserError]) -> tuple[Tensor, list[torch.Size], UserError | None]:
    """The bytes of images one after another, their shapes, and the first error."""
    good = [image for image in images if isinstance(image, Tensor)]
    error = next((image for image in images if isinstance(image, UserError)), None)
    return torch.cat([image.flatten() for image in good] or [UNREADABLE.flatten()]), [x.shape for x in good], error

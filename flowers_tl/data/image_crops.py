"""Batches cut out of decoded images: bit for bit what the article's transforms make, which resize with Pillow too."""

import copy
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from flowers_tl.data.cached.decoded_images import DecodedImages
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.transforms import centre_crop, random_crop

Key = int | tuple[int, int]


class ImageCrops(Dataset):
    """A split's images, cut out a batch at a time: uint8 (n, 3, size, size), with labels int64 (n,).

    Args:
        images: the decoded images; batches are made on their device.
        labels: one an image.
        size: side of the crop, in pixels.
        seed: from which, with epoch and index, random windows follow; None takes the centre.
        augment: makes a PIL image into a uint8 tensor (3, size, size) at random, in the place of random windows.
        flip: how random windows are flipped, see :func:`flowers_tl.data.transforms.random_crop`.
    """

    def __init__(
        self,
        images: DecodedImages,
        labels: Sequence[int],
        size: int,
        seed: int | None = None,
        augment: Callable[[Image.Image], Tensor] | None = None,
        flip: str = "horizontal",
    ) -> None:
        self.images, self.labels, self.size = images, torch.tensor(labels), size
        self.seed, self.augment, self.flip = seed, augment, flip

    def to(self, device: torch.device) -> "ImageCrops":
        """With the images on a device, if there is room; those that PIL changes stay where they are."""
        there = copy.copy(self)
        there.images = self.images if self.augment else self.images.to(device)
        return there

    @property
    def ready(self) -> bool:
        """Whether a batch is cut out faster than a worker process could hand it over."""
        return self.images.kept is not None and self.augment is None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images and labels of the keys: indices, or where windows are random ``(epoch, index)`` pairs."""
        # Lightning's overfit_batches puts a sampler of plain indices in the place of ours: one epoch over and over.
        pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
        indices = [index for _, index in pairs]
        cut = self._augmented if self.augment else self._crop
        crops = torch.stack([cut(*image) for image in zip(self.images.take(indices), pairs, strict=True)])
        # Height, width, channels in memory: the order that convolutions are fast in.
        return crops if self.augment else crops.permute(0, 3, 1, 2), self.labels[indices]

    def _crop(self, image: Tensor, key: tuple[int, int]) -> Tensor:
        if self.seed is None:
            return centre_crop(image, self.size)
        return random_crop(image, self.size, torch.Generator().manual_seed(derive_seed(self.seed, *key)), self.flip)

    def _augmented(self, image: Tensor, key: tuple[int, int]) -> Tensor:
        # Only the CPU's generator is forked and seeded: torch.manual_seed would reset the GPU's too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, *key))
            return self.augment(Image.fromarray(image.cpu().numpy()))

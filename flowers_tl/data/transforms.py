"""How images become what a network takes: as the article does, or as its weights expect; and the way back to colours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Which axes of (..., height, width) are turned round in a view of an image, and which views ``data.flip`` allows.
FLIPPED_AXES: dict[str, tuple[int, ...]] = {"centre": (), "mirrored": (-1,), "upside_down": (-2,), "turned": (-2, -1)}
FLIPS = {"none": ["centre"], "horizontal": ["centre", "mirrored"], "both": [*FLIPPED_AXES]}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes what a network takes; by default as the article does it.

    Attributes:
        resize, crop: sides in pixels, to which the short side is resized and which is cut out then. Images of another size
            are resized in proportion.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        mean, std: of the values from 0 to 1, by which red, green and blue are normalised.
        fit: ``crop`` cuts out the centre, ``pad`` adds borders of the mean colour, ``squash`` changes the image's shape.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    mean: list[float] = field(default_factory=lambda: list(IMAGENET_MEAN))
    std: list[float] = field(default_factory=lambda: list(IMAGENET_STD))
    fit: str = "crop"

    @property
    def fill(self) -> list[int]:
        """The mean colour."""
        return [round(255 * value) for value in self.mean]

    def side(self, image_size: int) -> int:
        """The short side in pixels, before the crop; where none is made it is the side of a square."""
        return round(image_size * self.resize / self.crop) if self.fit == "crop" else image_size

    def resized(self, image: Image.Image, side: int) -> Image.Image:
        """The image with this :meth:`side`."""
        resize = partial(v2.functional.resize, interpolation=InterpolationMode(self.interpolation))
        if self.fit != "pad":
            return resize(image, [side] if self.fit == "crop" else [side, side])
        shape = [max(1, side * length // max(image.size)) for length in image.size]
        square = Image.new("RGB", (side, side), tuple(self.fill))
        square.paste(resize(image, shape[::-1]), ((side - shape[0]) // 2, (side - shape[1]) // 2))
        return square

    def describe_decoding(self) -> dict[str, Any]:
        """What decoded images follow from, beside their side, where it is not the article's: a part of the cache's keys."""
        used = {"interpolation": self.interpolation, "fit": self.fit}
        changed = {key: value for key, value in used.items() if value != getattr(ARTICLE, key)}
        return changed | ({"fill": self.fill} if self.fit == "pad" else {})


ARTICLE = Preprocessing()


def resized(image_size: int) -> int:
    """The article's short side, in pixels, before a crop of this size: 256 for 224, and so in proportion."""
    return ARTICLE.side(image_size)


def random_crop(image: Tensor, size: int, generator: torch.Generator, flip: str = "horizontal") -> Tensor:
    """What RandomCrop and RandomHorizontalFlip make of (height, width, 3) with the same random numbers."""
    top, left = (
        int(torch.randint(0, side - size + 1, (), generator=generator)) if side > size else 0
        for side in image.shape[:2]
    )
    crop = image[top : top + size, left : left + size]
    for axis in (1, 0)[: ("none", "horizontal", "both").index(flip)]:
        crop = crop.flip(axis) if torch.rand(1, generator=generator) < 0.5 else crop
    return crop


def centre_crop(image: Tensor, size: int) -> Tensor:
    """What CenterCrop makes of (height, width, 3)."""
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def augment(
    image_size: int, augmentation: str, preprocessing: Preprocessing = ARTICLE, flip: str = "horizontal"
) -> v2.Compose:
    """Crop at random and flip at random: PIL image in, uint8 (3, image_size, image_size) out.

    Args:
        image_size: side of the crop, in pixels.
        augmentation: ``crop`` resizes before, as the article does; ``random_resized_crop`` takes a window of any size
            from 8 to 100 % of the image (Szegedy et al. 2015); ``trivial_augment`` follows ``crop`` with one random
            change of colour or shape (Mueller and Hutter 2021).
        preprocessing: by which images are resized.
        flip: ``none``, ``horizontal`` or ``both``.
    """
    crop = [partial(preprocessing.resized, side=preprocessing.side(image_size)), v2.RandomCrop(image_size)]
    if augmentation == "random_resized_crop":
        crop = [v2.RandomResizedCrop(image_size, interpolation=InterpolationMode(preprocessing.interpolation))]
    flips = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()][: ("none", "horizontal", "both").index(flip)]
    change = [v2.TrivialAugmentWide()] if augmentation == "trivial_augment" else []
    return v2.Compose([*crop, *flips, *change, v2.ToImage(), v2.ToPureTensor()])


def eval_transform(image_size: int = 224, preprocessing: Preprocessing = ARTICLE) -> v2.Compose:
    """Resize, crop the centre, normalise: PIL image in, float32 (3, image_size, image_size) out."""
    size, norm = (
        partial(preprocessing.resized, side=preprocessing.side(image_size)),
        partial(normalise, mean=preprocessing.mean, std=preprocessing.std),
    )
    return v2.Compose([size, v2.CenterCrop(image_size), v2.ToImage(), v2.ToPureTensor(), norm])


def normalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Turn uint8 (..., 3, h, w) into float32 as a network expects it, wherever the images are."""
    return v2.functional.normalize(v2.functional.to_dtype(images, scale=True), mean, std)


def denormalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Turn normalised images (n, 3, h, w) back into values from 0 to 1."""
    shift, scale = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (mean, std))
    return (images * scale + shift).clamp(0, 1)

"""The article's transforms, others for training, and the way back from the network's values to colours."""

import torch
from torch import Tensor
from torchvision.transforms import v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resized(image_size: int) -> int:
    """Short side, in pixels, to which an image is resized before the crop: 256 for a crop of 224, and so in proportion."""
    return round(image_size * 256 / 224)


def random_crop(image: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """What RandomCrop and RandomHorizontalFlip make of (height, width, 3) with the same random numbers."""
    top, left = (
        int(torch.randint(0, side - size + 1, (), generator=generator)) if side > size else 0
        for side in image.shape[:2]
    )
    crop = image[top : top + size, left : left + size]
    return crop.flip(1) if torch.rand(1, generator=generator) < 0.5 else crop


def centre_crop(image: Tensor, size: int) -> Tensor:
    """What CenterCrop makes of (height, width, 3)."""
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def augment(image_size: int, augmentation: str) -> v2.Compose:
    """Crop at random and flip at random: PIL image in, uint8 (3, image_size, image_size) out.

    Args:
        image_size: side of the crop, in pixels.
        augmentation: ``crop`` resizes before, as the article does; ``random_resized_crop`` takes a window of any size
            from 8 to 100 % of the image (Szegedy et al. 2015); ``trivial_augment`` follows ``crop`` with one random
            change of colour or shape (Mueller and Hutter 2021).
    """
    crop = [v2.Resize(resized(image_size)), v2.RandomCrop(image_size)]
    if augmentation == "random_resized_crop":
        crop = [v2.RandomResizedCrop(image_size)]
    change = [v2.TrivialAugmentWide()] if augmentation == "trivial_augment" else []
    return v2.Compose([*crop, v2.RandomHorizontalFlip(), *change, v2.ToImage(), v2.ToPureTensor()])


def eval_transform(image_size: int = 224) -> v2.Compose:
    """Resize, crop the centre, normalise: PIL image in, float32 (3, image_size, image_size) out."""
    steps = [v2.Resize(resized(image_size)), v2.CenterCrop(image_size), v2.ToImage(), v2.ToPureTensor(), normalise]
    return v2.Compose(steps)


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 (..., 3, h, w) into float32 as ImageNet's networks expect it, wherever the images are."""
    return v2.functional.normalize(v2.functional.to_dtype(images, scale=True), IMAGENET_MEAN, IMAGENET_STD)


def denormalise(images: Tensor) -> Tensor:
    """Turn normalised images (n, 3, h, w) back into values from 0 to 1."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * std + mean).clamp(0, 1)

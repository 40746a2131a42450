"""Drawn flowers: images that need no download, in the on-disk layout of Oxford Flowers 102.

A species is a few numbers (petals, their shape, two colours, a texture) that follow from its number alone. So species 0 to 9
and 10 to 19 are two data sets that are drawn by the same rules, which is what transfer needs. Within a species position, size,
tilt, rotation, light and background vary from image to image.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102

from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.data.torchvision_sets import TorchvisionDataModule
from flowers_tl.data.transforms import resized
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import track

# Part of the folder's name: a change of the drawing makes a new folder, and old images are not mistaken for new ones.
DRAWING_VERSION = 1


class DrawnFlowers(Flowers102):
    """torchvision's reader for drawn flowers: it expects the same files, checks no md5, and never downloads."""

    def _check_integrity(self) -> bool:
        files = (self._file_dict[key][0] for key in ("label", "setid"))
        return self._images_folder.is_dir() and all((self._base_folder / file).is_file() for file in files)

    def download(self) -> None:
        pass


class SyntheticDataModule(TorchvisionDataModule):
    """Drawn flowers as data, in the layout of ``data=flowers``; they are drawn on first use.

    Args:
        root: folder under which a folder for these drawings is made; by default ``data``.
        num_classes: species; None draws 8.
        train_per_class, val_per_class, test_per_class: images of each species in the three splits.
        image_size: side of the crop, in pixels.
        first_species: number of the first species; ranges that do not meet give different flowers.
        others: as in :class:`flowers_tl.data.datamodule.ImageDataModule`.
    """

    def __init__(
        self,
        root: str | None = None,
        num_classes: int | None = 8,
        train_per_class: int = 10,
        val_per_class: int = 10,
        test_per_class: int = 20,
        image_size: int | None = 64,
        first_species: int = 0,
        num_workers: int | None = 0,
        **others: Any,
    ) -> None:
        num_classes = 8 if num_classes is None else num_classes
        sizes = {"num_classes": num_classes, "image_size": image_size, "num_workers": num_workers}
        super().__init__("flowers", root or "data", **sizes, **others)
        self.name, self.reader, self.default_num_classes = "synthetic", DrawnFlowers, num_classes
        self.first_species = first_species
        self.drawn = dict(zip(SPLITS, (train_per_class, val_per_class, test_per_class), strict=True))
        counted = "-".join(str(count) for count in self.drawn.values())
        self.root /= f"synthetic-v{DRAWING_VERSION}-{num_classes}x{counted}-{self.image_size}px-from-{first_species}"

    def prepare_data(self) -> None:
        """Draw the flowers unless they are there: written beside and renamed, so that no half-drawn set is ever read."""
        if self.root.is_dir():
            return
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".drawing-", dir=self.root.parent) as beside:
                drawn = Path(beside) / "drawn"
                draw_dataset(drawn, self.default_num_classes, self.drawn, self.image_size, self.first_species)
                # Fails where anything lies there: a folder takes the place of an empty one alone.
                os.rename(drawn, self.root)
        except OSError as error:
            # Another process may have been faster: it drew the same.
            if not self.root.is_dir():
                raise UserError(
                    f"The drawn images can't be written to {self.root} ({error}): use another folder with data.root=DIR."
                ) from error

    def find_splits(self) -> dict[str, ImageSplit]:
        names = [f"drawn species {self.first_species + k}" for k in range(self.default_num_classes)]
        return {split: replace(images, classes=names) for split, images in super().find_splits().items()}


def draw_dataset(root: Path, num_classes: int, per_class: dict[str, int], image_size: int, first_species: int) -> None:
    """Draw all images into ``root/flowers-102/jpg`` and write the two .mat files as the original's are."""
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    images = [(split, k) for split in SPLITS for k in range(num_classes) for _ in range(per_class[split])]
    # Image ids are shuffled over the splits, as the original's are: nothing may depend on their order.
    ids = 1 + np.random.default_rng([first_species, len(images)]).permutation(len(images))
    labels = np.zeros(len(images), int)
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    for number, (split, k) in zip(ids, track(images, "Drawing flowers"), strict=True):
        rng = np.random.default_rng([first_species + k, int(number)])
        canvas = draw_flower(Species.from_number(first_species + k), resized(image_size), rng)
        canvas.save(folder / "jpg" / f"image_{number:05d}.jpg", quality=90)
        labels[number - 1] = k + 1
        splits[split].append(number)
    savemat(folder / "imagelabels.mat", {"labels": labels})
    savemat(folder / "setid.mat", {key: splits[split] for split, key in Flowers102._splits_map.items()})


@dataclass(frozen=True)
class Species:
    """What all images of one drawn species share; lengths are in radii of the flower, hues from 0 to 1."""

    petals: int
    sharpness: float
    depth: float
    hue: float
    saturation: float
    heart: float
    heart_hue: float
    stripes: int
    stripe_strength: float
    rim: float

    @classmethod
    def from_number(cls, number: int) -> "Species":
        seed = int.from_bytes(hashlib.sha256(f"species {number}".encode()).digest()[:8], "little")
        rng = np.random.default_rng(seed)
        return cls(
            petals=int(rng.integers(4, 14)),
            sharpness=rng.uniform(0.4, 2.5),
            depth=rng.uniform(0.25, 0.8),
            hue=rng.choice([rng.uniform(0.75, 1.2), rng.uniform(0.55, 0.8)]) % 1,
            saturation=rng.choice([rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.95)]),
            heart=rng.uniform(0.12, 0.38),
            heart_hue=rng.choice([rng.uniform(0.03, 0.18), rng.uniform(0.0, 1.0)]),
            stripes=int(rng.integers(0, 6)),
            stripe_strength=rng.uniform(0.0, 0.5),
            rim=rng.uniform(-0.4, 0.4),
        )


def draw_flower(species: Species, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one image of ``size`` by ``size`` pixels; all that varies within the species comes from ``rng``."""
    # Drawn at twice the size and scaled down, which smooths the edges.
    fine = 2 * size
    grid = np.linspace(-1, 1, fine)
    x, y = np.meshgrid(grid - rng.uniform(-0.3, 0.3), grid - rng.uniform(-0.3, 0.3))
    tilt, turn, radius = rng.uniform(0.6, 1.0), rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.85)
    x, y = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / tilt
    r, angle = np.hypot(x, y) / radius, np.arctan2(y, x) + rng.uniform(0, 2 * np.pi)

    wobble = 1 + 0.08 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(5 * angle + rng.uniform(0, 6))
    petal = np.abs(np.cos(species.petals * angle / 2)) ** species.sharpness
    outline = (1 - species.depth + species.depth * petal) * wobble
    # 0 in the heart, 1 at the petal's tip.
    along = np.clip(r / outline, 0, 1)

    light = rng.uniform(0.75, 1.0)
    stripes = 1 - species.stripe_strength * (0.5 + 0.5 * np.cos(species.stripes * species.petals * angle)) * along
    shade = (0.7 + 0.3 * petal) * stripes * (1 + species.rim * (along - 0.5))
    hue = (species.hue + rng.normal(0, 0.02)) % 1
    flower = hsv(hue, species.saturation * rng.uniform(0.85, 1.1), shade * light)
    freckles = 0.75 + 0.25 * smooth_noise(fine, fine // 4, rng)
    heart = hsv((species.heart_hue + rng.normal(0, 0.015)) % 1, 0.85, freckles * light * 0.85)

    ground = 0.25 + 0.5 * smooth_noise(fine, int(rng.integers(3, 10)), rng)
    canvas = hsv(rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.7), ground * rng.uniform(0.5, 1.0))
    canvas = np.where((r < outline)[..., None], flower, canvas)
    canvas = np.where((r < species.heart * wobble)[..., None], heart, canvas)
    canvas = canvas + rng.normal(0, 0.03, canvas.shape)
    image = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.BOX)


def hsv(hue: float, saturation: float, value: np.ndarray) -> np.ndarray:
    """Colour an image of values (h, w) from 0 to 1 with one hue and saturation: RGB (h, w, 3)."""
    k = (np.array([5, 3, 1]) + 6 * hue) % 6
    return value[..., None] * (1 - min(saturation, 1) * np.clip(np.minimum(k, 4 - k), 0, 1))


def smooth_noise(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (size, size) from 0 to 1 that changes over size / cells pixels."""
    coarse = Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=float) / 255

"""Oxford Flowers 102 with its official splits, as a LightningDataModule."""

import os
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import Flowers102

from flowers_tl.data.cache import Cache
from flowers_tl.data.fingerprint import fingerprint
from flowers_tl.data.sampling import EpochSampler, SeededPictures, few_of_each
from flowers_tl.data.store import StoredPictures, describe, open_store
from flowers_tl.data.transforms import augment, eval_transform, resized, train_transform
from flowers_tl.errors import UserError, suggest

SPLITS = ("train", "val", "test")
PROTOCOLS = ("official", "trainval")


def read_picture(path: str | Path) -> Image.Image:
    """Decode a picture to RGB, or say which one can't be read."""
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise on a damaged file
        raise UserError(f"{path} can't be read as a picture ({error}): replace the file.") from error


class FlowersDataModule(L.LightningDataModule):
    """Oxford Flowers 102 (1,020 train, 1,020 val, 6,149 test pictures, 102 species) under the article's transforms.

    After :meth:`setup` it has ``num_classes``, ``class_names`` and ``sizes`` (pictures by split).

    Args:
        root: folder that holds ``flowers-102/``; by default the environment's FLOWERS102_ROOT, else ``data``.
        num_classes: outputs wanted; by default as many as the data has names for. Fewer than labels is an error.
        image_size: side of the crop, in pixels; pictures are resized to 256/224 of it before.
        batch_size: pictures a step, counted over all devices.
        num_workers: processes that decode; None takes one a core, 8 at most.
        seed: from which order, crops and flips of the training pictures follow.
        augmentation: of training pictures, see :func:`flowers_tl.data.transforms.train_transform`.
        limit: most pictures of a split, spread evenly over it; None takes all.
        protocol: ``official``, or ``trainval``, which trains on train and val together: nothing is left to choose by.
        per_class: most training pictures of a class, drawn by the seed, fewer of them among more; None takes all.
        cache: where decoded pictures are kept; None decodes each time, by the article's transforms in worker processes.
    """

    name: ClassVar[str] = "flowers"
    reader: ClassVar[type[Flowers102]] = Flowers102

    def __init__(
        self,
        root: str | None = None,
        num_classes: int | None = None,
        image_size: int = 224,
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        augmentation: str = "crop",
        limit: int | None = None,
        protocol: str = "official",
        per_class: int | None = None,
        cache: Cache | None = None,
    ) -> None:
        super().__init__()
        self.root = Path(root or os.environ.get("FLOWERS102_ROOT") or "data")
        self.num_classes, self.class_names = num_classes, []
        self.image_size, self.batch_size, self.seed = image_size, batch_size, seed
        self.augmentation, self.limit, self.cache = augmentation, limit, cache
        self.protocol, self.per_class = protocol, per_class
        # Windows are cut out of the store faster than a worker could hand them over.
        needless = cache is not None and augmentation == "crop"
        self.num_workers = (0 if needless else min(8, os.cpu_count() or 1)) if num_workers is None else num_workers
        self.pictures: dict[str, Flowers102] = {}
        for name, least in (("image_size", 16), ("batch_size", 1), ("num_workers", 0), ("seed", 0)):
            if getattr(self, name) < least:
                key = name if name == "seed" else f"data.{name}"
                raise UserError(f"{key}={getattr(self, name)} is too small: it must be at least {least}.")
        for name, most in (("limit", limit), ("per_class", per_class)):
            if most is not None and most < 1:
                raise UserError(f"data.{name}={most} leaves no pictures: it must be at least 1, or null for all.")
        if protocol not in PROTOCOLS:
            raise UserError(f"data.protocol={protocol} is unknown: {suggest(protocol, PROTOCOLS)}.")
        self.train_transform, self.eval_transform = (
            train_transform(image_size, augmentation),
            eval_transform(image_size),
        )

    def prepare_data(self) -> None:
        """Download what is missing. Raises UserError where that fails, with what to put where."""
        try:
            self.reader(self.root, split="test", download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"The pictures are not in {self.root / 'flowers-102'} and can't be downloaded ({error}): put the unpacked "
                f"102flowers.tgz (a folder jpg), imagelabels.mat and setid.mat from {Flowers102._download_url_prefix} there, "
                "name their folder with data.root=DIR or FLOWERS102_ROOT, or draw flowers with data=synthetic."
            ) from error

    def setup(self, stage: str | None = None) -> None:
        """Read the splits (once), and check that labels and pictures are there."""
        if self.pictures:
            return
        for split in SPLITS:
            transform = self.train_transform if split == "train" else self.eval_transform
            pictures = self._read(split, transform)
            if len(pictures) == 0:
                raise UserError(
                    f"The {split} split in {self.root} is empty: each of {', '.join(SPLITS)} needs pictures."
                )
            if missing := [path for path in pictures._image_files if not path.is_file()]:
                raise UserError(
                    f"{missing[0]} is missing (and {len(missing) - 1} more of the {split} split): put it back, or remove "
                    f"{self.root / 'flowers-102'} to have all of it made anew."
                )
            self.pictures[split] = pictures
        self.class_names = list(self.pictures["train"].classes)
        labels = 1 + max(max(pictures._labels) for pictures in self.pictures.values())
        self.num_classes = len(self.class_names) if self.num_classes is None else self.num_classes
        if self.num_classes < labels:
            raise UserError(
                f"data.num_classes={self.num_classes} is fewer than the {labels} classes in {self.root}: "
                f"leave it out, or set it to {labels}."
            )
        self.class_names += [f"class {k}" for k in range(len(self.class_names), self.num_classes)]

    def _read(self, split: str, transform: Any, whole: bool = False) -> Flowers102:
        """A split under a transform; ``whole`` leaves ``per_class`` out of account."""
        pictures = self.reader(self.root, split=split, transform=transform, loader=read_picture)
        if self.limit is not None and (size := len(pictures)) > self.limit:
            keep(pictures, [k * size // self.limit for k in range(self.limit)])
        if split == "train" and self.protocol == "trainval":
            val = self._read("val", transform)
            pictures._image_files, pictures._labels = (
                pictures._image_files + val._image_files,
                pictures._labels + val._labels,
            )
        if split == "train" and self.per_class is not None and not whole:
            keep(pictures, few_of_each(pictures._labels, self.per_class, self.seed))
        return pictures

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the splits as the protocol has them: how many of its training pictures a run takes is the run's own."""
        found = {}
        for split in SPLITS:
            few = split == "train" and self.per_class is not None
            pictures = self._read(split, self.eval_transform, whole=True) if few else self.pictures[split]
            found[split] = fingerprint(pictures._image_files, pictures._labels, self.root, self.cache)
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Number of pictures by split."""
        return {split: len(pictures) for split, pictures in self.pictures.items()}

    def train_dataloader(self) -> DataLoader:
        pictures = self.stored("train", self.seed) if self.cache else SeededPictures(self.pictures["train"], self.seed)
        return self.loader(pictures, self.sampler("train", shuffled=True))

    def val_dataloader(self) -> DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader:
        """The split's pictures in their order, none changed at random: the train split too, for a linear probe."""
        pictures: Dataset = self.pictures[split]
        if self.cache:
            pictures = self.stored(split)
        elif split == "train":
            pictures = self._read(split, self.eval_transform)
        return self.loader(pictures, self.sampler(split, shuffled=False))

    def sampler(self, split: str, shuffled: bool) -> EpochSampler | range:
        """The keys of the split's pictures that this process takes: (epoch, index) shuffled anew each epoch, or indices."""
        (rank, world), size = self._place(), self.sizes[split]
        # Each process takes every world-th picture and none is taken twice, as a padding sampler would.
        return EpochSampler(size, self.seed, rank, world) if shuffled else range(rank, size, world)

    def stored(self, split: str, seed: int | None = None) -> StoredPictures:
        """The split's pictures as uint8 batches out of the store; with a ``seed`` changed at random, else centre crops."""
        pictures, side = self.pictures[split], self._stored_side(seed is not None)
        shape = f"short side {side}" if side else "full size"
        what = f"{self.name}, {split}: {len(pictures):,} decoded pictures, {shape}"
        store = open_store(self.cache, pictures._image_files, side, read_picture, what)
        if seed is None:
            return StoredPictures(store, pictures._labels, self.image_size)
        if self.augmentation == "crop":
            store = store.to(self.trainer.strategy.root_device) if self.trainer else store
            return StoredPictures(store, pictures._labels, self.image_size, seed)
        return StoredPictures(
            store, pictures._labels, self.image_size, seed, augment(self.image_size, self.augmentation)
        )

    def describe(self, split: str, random: bool) -> dict[str, Any]:
        """All that the split's decoded pictures follow from, as plain Python: a key of the cache."""
        return describe(self.pictures[split]._image_files, self._stored_side(random))

    def _stored_side(self, random: bool) -> int | None:
        """Short side of stored pictures; a random window of any size is taken from the picture as it is."""
        return None if random and self.augmentation == "random_resized_crop" else resized(self.image_size)

    def loader(self, dataset: Dataset, sampler: EpochSampler | range, workers: int | None = None) -> DataLoader:
        """Batches of this process; a dataset behind the store makes whole ones itself."""
        workers = self.num_workers if workers is None else workers
        whole = {"collate_fn": as_it_is} if hasattr(dataset, "__getitems__") else {}
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=self.batch_size // self._place()[1],
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # without one, beginning to read would draw from the generator that dropout uses
            pin_memory=not whole and self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            **whole,
        )

    def _place(self) -> tuple[int, int]:
        """Rank of this process and how many there are. Raises UserError where a batch can't be shared out evenly."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size % world:
            raise UserError(
                f"data.batch_size={self.batch_size} must be a multiple of the {world} devices that share it."
            )
        return rank, world


def keep(pictures: Flowers102, indices: list[int]) -> None:
    """Reduce a split to some of its pictures."""
    pictures._image_files = [pictures._image_files[k] for k in indices]
    pictures._labels = [pictures._labels[k] for k in indices]


def as_it_is(batch: Any) -> Any:
    return batch

"""A set of labelled images as a LightningDataModule: its splits, orders and batches, whichever set it is."""

import os
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from flowers_tl.data.cached.decoded import DecodedSplits
from flowers_tl.data.cached.decoded_images import ImageCrops, describe_images
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.files import ImageFiles
from flowers_tl.data.cached.fingerprint import fingerprint_split
from flowers_tl.data.cached.unreadable import find_missing, find_undecodable, leave_out
from flowers_tl.data.sampling import BalancedSampler, EpochSampler, SeededImages, balancing_weights, subsample_per_class
from flowers_tl.data.splits import SPLITS, ImageSplit, add_missing_splits, name_classes
from flowers_tl.data.transforms import augment, eval_transform, resized, train_transform
from flowers_tl.utils.errors import UserError, suggest
from flowers_tl.utils.phase_timer import PhaseTimer

PROTOCOLS = ("official", "trainval")
BALANCES = ("none", "weights", "sampler")


class ImageDataModule(L.LightningDataModule):
    """Train, val and test images under the article's transforms; a subclass says where they are, in :meth:`find_splits`.

    After :meth:`setup` it has ``num_classes``, ``class_names``, ``images`` and ``sizes`` by split, ``cut``: the splits that
    the set lacks, and ``left_out``: the files that can't be read. Where ``undivided`` is set before, nothing is cut out of train
    for these, and they are empty. Its ``clock`` counts the time of what is made with it.

    Args:
        root: folder below which the images are.
        num_classes: outputs wanted; by default as many as the data has names for. Fewer than labels is an error.
        image_size: side of the crop, in pixels; images are resized to 256/224 of it before.
        batch_size: images a step, counted over all devices.
        num_workers: processes that decode; None takes one a core, 8 at most, or none where batches are made faster.
        seed: from which order, crops and flips of the training images follow.
        augmentation: of training images, see :func:`flowers_tl.data.transforms.train_transform`.
        limit: most images of a split, spread evenly over it; None takes all.
        protocol: ``official``, or ``trainval``, which trains on train and val together: nothing is left to choose by.
        per_class: most training images of a class, drawn by the seed, fewer of them among more; None takes all.
        balance: give every class the same part in the training loss (``weights``) or in each epoch (``sampler``), or not.
        val_fraction, test_fraction, split_seed: for splits that the set lacks, see :func:`flowers_tl.data.splits.complete`.
        strict: whether an image that can't be read is refused by :meth:`setup`, or left out; None looks at none before it
            is needed, and refuses it then.
        cache: where decoded images are kept; None decodes each time, by the article's transforms in worker processes.
    """

    name: ClassVar[str]
    known_classes: ClassVar[int]

    def __init__(
        self,
        root: str | Path,
        num_classes: int | None = None,
        image_size: int = 224,
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        augmentation: str = "crop",
        limit: int | None = None,
        protocol: str = "official",
        per_class: int | None = None,
        balance: str = "none",
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        strict: bool | None = None,
        cache: Cache | None = None,
    ) -> None:
        super().__init__()
        self.root, self.strict, self.cache = Path(root).expanduser(), strict, cache
        self.clock = cache.clock if cache else PhaseTimer()
        self.num_classes, self.class_names = num_classes, []
        self.image_size, self.batch_size, self.num_workers, self.seed = image_size, batch_size, num_workers, seed
        self.augmentation, self.limit, self.per_class = augmentation, limit, per_class
        self.protocol, self.balance = protocol, balance
        self.shares, self.split_seed = {"val": val_fraction, "test": test_fraction}, split_seed
        self.images: dict[str, ImageSplit] = {}
        self.undivided, self.cut = False, set()
        self.left_out: list[Path] = []
        self._refuse_senseless()
        self.train_transform = train_transform(image_size, augmentation)
        self.eval_transform = eval_transform(image_size)

    def _refuse_senseless(self) -> None:
        for name, least in (("image_size", 16), ("batch_size", 1), ("num_workers", 0), ("seed", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                key = name if name == "seed" else f"data.{name}"
                raise UserError(f"{key}={value} is too small: it must be at least {least}.")
        for name in ("limit", "per_class"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"data.{name}={value} leaves no images: it must be at least 1, or null for all.")
        for name, known in (("protocol", PROTOCOLS), ("balance", BALANCES)):
            if getattr(self, name) not in known:
                raise UserError(f"data.{name}={getattr(self, name)} is unknown: {suggest(getattr(self, name), known)}.")

    def find_splits(self) -> dict[str, ImageSplit]:
        """The splits that the set has, ``train`` among them, all of the same classes. Raises UserError for what is amiss."""
        raise NotImplementedError

    def count_classes(self) -> int:
        """Outputs of the head, told without reading an image."""
        return self.num_classes or self.known_classes

    def remedy(self) -> str:
        """What to do, other than to put it back, about an image that is gone."""
        return "leave it out with data.strict=false"

    def setup(self, stage: str | None = None) -> None:
        """Find the splits (once), and check that labels and images are there."""
        if self.images:
            return
        found = self.find_splits()
        self.cut = set(SPLITS) - set(found)
        if self.undivided:
            empty = ImageSplit([], [], next(iter(found.values())).classes)
            found = {split: found.get(split, empty) for split in SPLITS}
        else:
            found = add_missing_splits(found, self.shares, self.split_seed, self.root)
        found = {split: found[split] if self.limit is None else found[split].spread(self.limit) for split in SPLITS}
        found = self._without_unreadable(found)
        if self.protocol == "trainval" and not self.undivided:
            found["train"] += found["val"]
        self.whole = dict(found)
        if self.per_class is not None:
            found["train"] = found["train"].part(subsample_per_class(found["train"].labels, self.per_class, self.seed))
        self.class_names = name_classes(found, self.num_classes, self.root)
        self.num_classes, self.images = len(self.class_names), found

    def _without_unreadable(self, found: dict[str, ImageSplit]) -> dict[str, ImageSplit]:
        """Refuse images that can't be read, or leave them out."""
        bad = find_missing([file for images in found.values() for file in images.files])
        there = {split: images.without(bad) for split, images in found.items()}
        if self.cache:
            self.decoded = DecodedSplits(self.name, there, self.cache, checked=self.strict is not None)
        if self.strict is not None:
            files = [file for images in there.values() for file in images.files]
            bad |= self.decoded.undecodable(resized(self.image_size)) if self.cache else find_undecodable(files)
        self.left_out = sorted(bad, key=str)
        if bad and self.strict is not False:
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise UserError(f"{self.left_out[0]} is missing, or can't be read{more}: put it back, or {self.remedy()}.")
        return leave_out(found, self.left_out) if bad else found

    def fingerprints(self) -> dict[str, str]:
        """Hashes of the splits as the protocol has them: how many of its training images a run takes is the run's own."""
        return {s: fingerprint_split(p.files, p.labels, self.root, self.cache) for s, p in self.whole.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images by split."""
        return {split: len(images) for split, images in self.images.items()}

    @property
    def class_weights(self) -> list[float] | None:
        """Weights of the classes in the training loss; None where all count alike."""
        return balancing_weights(self.images["train"].labels, self.num_classes) if self.balance == "weights" else None

    def train_dataloader(self) -> DataLoader:
        if self.cache:
            images: Dataset = self.stored("train", self.seed)
        else:
            images = SeededImages(ImageFiles(self.images["train"], self.train_transform), self.seed)
        return self.loader(images, self.sampler("train", shuffled=True))

    def val_dataloader(self) -> DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader:
        """The split's images in their order, none changed at random: the train split too, for a linear probe."""
        images = self.stored(split) if self.cache else ImageFiles(self.images[split], self.eval_transform)
        return self.loader(images, self.sampler(split, shuffled=False))

    def sampler(self, split: str, shuffled: bool, seed: int | None = None) -> EpochSampler | range:
        """The keys of the split's images that this process takes: (epoch, index), shuffled anew each epoch, or indices.

        Where they are shuffled a ``seed`` may stand for the module's own, and ``balance`` is obeyed.
        """
        place, labels, seed = self._place(), self.images[split].labels, self.seed if seed is None else seed
        if not shuffled:  # each process takes every world-th image and none is taken twice, as a padding sampler would
            return range(place[0], len(labels), place[1])
        if self.balance == "sampler":
            return BalancedSampler(labels, seed, *place)
        return EpochSampler(len(labels), seed, *place)

    def stored(self, split: str, seed: int | None = None) -> ImageCrops:
        """The split's images as uint8 batches out of the store; with a ``seed`` changed at random, else centre crops."""
        own = self.images[split]
        store = self.decoded.of(split, own.files, self._stored_side(seed is not None))
        if seed is None or self.augmentation != "crop":
            change = None if seed is None else augment(self.image_size, self.augmentation)
            return ImageCrops(store, own.labels, self.image_size, seed, change)
        store = store.to(self.trainer.strategy.root_device) if self.trainer else store
        return ImageCrops(store, own.labels, self.image_size, seed)

    def describe(self, split: str, random: bool) -> dict[str, Any]:
        """All that the split's decoded images follow from, as plain Python: a key of the cache."""
        return describe_images(self.images[split].files, self._stored_side(random), self.cache)

    def _stored_side(self, random: bool) -> int | None:
        """Short side of stored images; a random window of any size is taken from the image as it is."""
        return None if random and self.augmentation == "random_resized_crop" else resized(self.image_size)

    def loader(self, dataset: Dataset, sampler: EpochSampler | range, workers: int | None = None) -> DataLoader:
        """Batches of this process; a dataset behind the store makes whole ones itself."""
        if workers is None:
            needless = getattr(dataset, "ready", False)
            workers = (0 if needless else min(8, os.cpu_count() or 1)) if self.num_workers is None else self.num_workers
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


def as_it_is(batch: Any) -> Any:
    return batch

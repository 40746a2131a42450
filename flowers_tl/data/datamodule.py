"""A data set of labelled images as a LightningDataModule: its splits, orders and batches."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from flowers_tl.data import sampling
from flowers_tl.data.cached.content_hash import describe_images, fingerprint_split
from flowers_tl.data.cached.decoded_images import DecodedSplits
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.unreadable import find_missing, leave_out
from flowers_tl.data.exclusions import note_copies, read_exclusions
from flowers_tl.data.groups import find_groups
from flowers_tl.data.image_crops import ImageCrops
from flowers_tl.data.image_io import Limits
from flowers_tl.data.splits import SPLITS, Cutting, ImageSplit, name_classes
from flowers_tl.data.transforms import ARTICLE, Preprocessing, augment
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.phase_timer import PhaseTimer
from flowers_tl.utils.threads import count_cores, exit_with_parent


class ImageDataModule(L.LightningDataModule):
    """Train, val and test images in batches; a subclass says where the images are, in :meth:`find_splits`.

    Batches are uint8 images (n, 3, image_size, image_size), which the network normalises on its device, and int64 labels (n,).

    After :meth:`setup` it has ``num_classes``, ``class_names``, ``images`` and ``sizes`` by split; ``cut_splits`` that the data set
    lacks, ``left_out`` files that can't be read, and ``excluded`` names of images that an audit leaves out. With ``unsplit`` set
    before, lacking splits are empty instead of cut out of train. Its ``clock`` counts the time of what is made with it.

    Args:
        root: folder below which the images are.
        num_classes: outputs wanted; by default as many as the data has names for. Fewer than labels is an error.
        image_size: side of the images that the network takes, in pixels; None: as ``preprocessing`` says.
        batch_size: images a step, counted over all devices.
        num_workers: processes that decode; None: one a core that it may use, 8 at most, or none where that is faster.
        seed: from which order, crops and flips of the training images follow.
        augmentation, flip: of training images, see :func:`flowers_tl.data.transforms.augment`; ``none`` changes nothing at random.
        preprocessing: of all images.
        limit: most images of a split, spread evenly over it; None takes all.
        protocol: ``official``, or ``trainval``, which trains on train and val together: nothing is left to choose by.
        per_class: most training images of a class, drawn by the seed, fewer of them among more; None takes all.
        balance: give every class the same part in the training loss (``weights``) or in each epoch (``sampler``), or not.
        strict: whether an image that can't be read is an error of :meth:`setup` (True), is left out (False), or is an error
            where it is needed (None).
        exclude: an audit.csv, whose copies and doubly labelled images are left out, see :mod:`flowers_tl.data.exclusions`.
        value_range: the numbers that are black and white, see :func:`flowers_tl.data.image_io.to_rgb`.
        cache: where decoded images are kept; None decodes them in every epoch.
        cutting: for missing splits, see :class:`flowers_tl.data.splits.Cutting`.
    """

    name: str
    default_num_classes: int

    def __init__(
        self,
        root: str | Path,
        num_classes: int | None = None,
        image_size: int | None = None,
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        augmentation: str = "crop",
        flip: str = "horizontal",
        preprocessing: Preprocessing = ARTICLE,
        limit: int | None = None,
        protocol: str = "official",
        per_class: int | None = None,
        balance: str = "none",
        strict: bool | None = None,
        exclude: str | None = None,
        value_range: Limits = None,
        cache: Cache | None = None,
        **cutting: Any,
    ) -> None:
        super().__init__()
        ends = list(value_range or (0, 1))
        if len(ends) != 2 or not -math.inf < ends[0] < ends[1] < math.inf:
            wrong = f"data.value_range={ends} must be two numbers"
            raise UserError(f"{wrong}, the value of black and a larger one of white, as in [0,255].")
        # A tuple: it is a part of keys.
        self.value_range = value_range and tuple(ends)
        self.root, self.strict, self.cache = Path(root).expanduser(), strict, cache
        self.clock = cache.clock if cache else PhaseTimer()
        self.num_classes, self.class_names = num_classes, list[str]()
        self.image_size, self.preprocessing, self.flip = image_size or preprocessing.crop, preprocessing, flip
        self.batch_size, self.num_workers, self.seed, self.augmentation = batch_size, num_workers, seed, augmentation
        self.limit, self.per_class, self.protocol, self.balance = limit, per_class, protocol, balance
        self.cutting, self.groups = Cutting(**cutting), dict[Path, str]()
        self.images: dict[str, ImageSplit] = {}
        self.exclusions = read_exclusions(exclude, "data.exclude") if exclude else None
        self.unsplit, self.excluded, self.cut_splits, self.left_out = False, list[str](), set[str](), list[Path]()

    def find_splits(self) -> dict[str, ImageSplit]:
        """The splits that the data set has, all of the same classes. Raises UserError where something is wrong with them."""
        raise NotImplementedError

    def count_classes(self) -> int:
        """Outputs of the head, known without reading an image."""
        return self.num_classes or self.default_num_classes

    def remedy(self) -> str:
        """What to do about a missing image, other than to put it back."""
        return "leave it out with data.strict=false"

    def setup(self, stage: str | None = None) -> None:
        """Find the splits (once), and check that labels and images are there."""
        if self.images:
            return
        splits = self.plan_splits()
        # Before any image is read: once here, and below for those that are left.
        name_classes(splits, self.num_classes, self.root)
        if self.exclusions:
            splits, self.excluded = self.exclusions.leave_out(splits, self.root)
        splits = self._without_unreadable(splits)
        if self.protocol == "trainval" and not self.unsplit:
            splits["train"] += splits["val"]
        self.all_images = dict(splits)
        if self.per_class is not None:
            train = splits["train"]
            splits["train"] = train.part(sampling.subsample_per_class(train.labels, self.per_class, self.seed))
        self.class_names = name_classes(splits, self.num_classes, self.root)
        self.num_classes, self.images = len(self.class_names), splits

    def plan_splits(self) -> dict[str, ImageSplit]:
        """The splits before any image is read, those that the data set lacks cut out of train."""
        splits = self.find_splits()
        self.cut_splits = set(SPLITS) - set(splits)
        if self.unsplit:
            empty = ImageSplit([], [], next(iter(splits.values())).classes)
            splits |= dict.fromkeys(self.cut_splits, empty)
        else:
            files = [file for images in splits.values() for file in images.files]
            groups = self.groups or find_groups(files, self.root, self.cutting.groups)
            splits = self.cutting.apply(splits, self.root, groups)
        return {split: splits[split] if self.limit is None else splits[split].spread(self.limit) for split in SPLITS}

    def _without_unreadable(self, splits: dict[str, ImageSplit]) -> dict[str, ImageSplit]:
        """Leave out images that can't be read, unless they are an error."""
        bad = find_missing(file for images in splits.values() for file in images.files)
        present, checked = {split: images.without(bad) for split, images in splits.items()}, self.strict is not None
        self.decoded = DecodedSplits(self.name, present, self.cache, checked, self.value_range, self.preprocessing)
        if checked:
            bad |= self.decoded.undecodable(self.preprocessing.side(self.image_size))
        self.left_out = sorted(bad, key=str)
        if bad and self.strict is not False:
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise UserError(f"{self.left_out[0]} is missing, or can't be read{more}: restore it, or {self.remedy()}.")
        return leave_out(splits, self.left_out, self.value_range) if bad else splits

    def split_fingerprints(self) -> dict[str, str]:
        """Hashes of the splits as the protocol has them: with all training images, whatever ``per_class`` is; copies are noted."""
        note_copies(self.all_images, self.root, self.cache)
        return {split: fingerprint_split(images, self.root, self.cache) for split, images in self.all_images.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images by split."""
        return {split: len(images) for split, images in self.images.items()}

    @property
    def class_weights(self) -> list[float] | None:
        """Weights of the classes in the training loss; None where all count alike."""
        labels, weighted = self.images["train"].labels, self.balance == "weights"
        return sampling.balancing_weights(labels, len(self.class_names)) if weighted else None

    def train_dataloader(self) -> DataLoader:
        return self.loader(self.crops("train", self.seed), self.sampler("train", shuffled=True))

    def val_dataloader(self) -> DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader:
        """The split's images in their order, none changed at random: the train split too, for a linear probe."""
        return self.loader(self.crops(split), self.sampler(split, shuffled=False))

    def sampler(self, split: str, shuffled: bool, seed: int | None = None) -> sampling.EpochSampler | range:
        """The keys of the split's images that this process takes: (epoch, index), shuffled anew each epoch, or indices.

        Shuffled ones follow ``balance``, and ``seed``, by default the module's.
        """
        (rank, world), labels, seed = self._place(), self.images[split].labels, self.seed if seed is None else seed
        # Each process takes every world-th image. None is taken twice, as a padding sampler would.
        if not shuffled:
            return range(rank, len(labels), world)
        if self.balance == "sampler":
            return sampling.BalancedSampler(labels, seed, rank, world)
        return sampling.EpochSampler(len(labels), seed, rank, world)

    def crops(self, split: str, seed: int | None = None) -> ImageCrops:
        """The split's images in uint8 batches: with a ``seed`` changed at random, else centre crops."""
        images, random = self.images[split], seed is not None and self.augmentation != "none"
        decoded = self.decoded.of(split, images.files, self._short_side(random))
        changed = random and self.augmentation != "crop"
        change = augment(self.image_size, self.augmentation, self.preprocessing, self.flip) if changed else None
        # Worker processes can't read what is on a GPU.
        if random and not change and self.trainer and not self.num_workers:
            decoded = decoded.to(self.trainer.strategy.root_device)
        return ImageCrops(decoded, images.labels, self.image_size, seed if random else None, change, self.flip)

    def describe(self, split: str, random: bool) -> dict[str, Any]:
        """All that the split's decoded images follow from, as plain Python: a key of the cache."""
        files, side = self.images[split].files, self._short_side(random)
        return describe_images(files, side, self.cache, self.value_range, self.preprocessing)

    def _short_side(self, random: bool) -> int | None:
        """Short side of the decoded images; a random window of any size is taken from the image as it is."""
        whole = random and self.augmentation == "random_resized_crop"
        return None if whole else self.preprocessing.side(self.image_size)

    def loader(self, dataset: Dataset, sampler: Sampler | range, workers: int | None = None) -> DataLoader:
        """Batches of this process, which the dataset makes whole."""
        if (workers := self.num_workers if workers is None else workers) is None:
            workers = 0 if dataset.ready else min(8, count_cores())
        size = self.batch_size // self._place()[1]
        # Batches of worker processes wait in shared memory, of which there may be little.
        if isinstance(sampler, range) and not workers:
            size = sampling.evaluation_batch(size, self.trainer)
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=size,
            num_workers=workers,
            collate_fn=unchanged,
            persistent_workers=workers > 0,
            worker_init_fn=exit_with_parent,
            # Without a generator, beginning to read would draw from the one that dropout uses.
            generator=torch.Generator(),
            pin_memory=workers > 0 and self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def _place(self) -> tuple[int, int]:
        """Rank of this process and how many there are. Raises UserError where a batch can't be shared out evenly."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size % world:
            wrong = f"data.batch_size={self.batch_size} can't be divided among {world} devices"
            raise UserError(f"{wrong}: use a multiple of {world}.")
        return rank, world


def unchanged(batch: Any) -> Any:
    return batch

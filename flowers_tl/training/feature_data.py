"""Images behind the frozen prefix: batches that enter the network at its first trainable stage.

Val and test pass the prefix once. A training image passes it in ``views`` variants, the crops and flips of the first
``views`` epochs; epoch e then takes variant e mod ``views``. What was computed is kept in the cache, under a key of all
that it follows from; what is too large to be worth keeping is computed afresh, by the same function, to the same bits.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowers_tl.data.cached.decoded_images import has_room
from flowers_tl.data.cached.disk_cache import Entry
from flowers_tl.data.cached.writer import Writer
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_crops import ImageCrops, Key
from flowers_tl.data.transforms import ARTICLE, FLIPPED_AXES
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_heads import entry_shapes
from flowers_tl.models.frozen_prefix import PRECISIONS, FrozenPrefix, find_entry_stage, fingerprint_stages
from flowers_tl.utils.notes import track

# An epoch whose crops and flips are shown, or `centre` and its mirror images: a key of FLIPPED_AXES.
CropView = int | str
# Split, view, and the stage that the outputs of the frozen prefix enter.
FeatureKey = tuple[str, CropView, str]


class FeatureDataModule(LightningDataModule):
    """A data module whose batches have passed the frozen prefix: (features, labels, name of the stage they enter).

    Batches of epochs without a prefix are (images, labels).

    Args:
        data: where the images come from; it has a cache.
        model: whose strategy says which stages are frozen, and whose frozen weights are taken as they are now.
        trainer: whose device computes, and that knows the epoch.
        epochs: of the run, of which those before ``first_epoch`` are done.
        options: ``views``, ``view_seed`` and ``precision``, see :class:`flowers_tl.config.schema.CacheConfig`.
        kept_splits: splits of which whole passes are made; the others are computed batch by batch.
    """

    def __init__(
        self,
        data: ImageDataModule,
        model: TransferClassifier,
        trainer: Trainer,
        epochs: int,
        options: Mapping[str, Any],
        first_epoch: int = 0,
        kept_splits: Sequence[str] = ("train", "val", "test"),
    ) -> None:
        super().__init__()
        self.data, self.model, self.kept_splits = data, model, kept_splits
        self.device: torch.device = trainer.strategy.root_device
        data.trainer = trainer
        self.views, self.precision = options["views"], options["precision"]
        self.view_seed = data.seed if options["view_seed"] is None else options["view_seed"]
        self.entry_stages = [find_entry_stage(model, epoch) for epoch in range(epochs + 1)]
        self.first_epoch, self.mixed = first_epoch, model.mixing is not None
        self.prefix = lru_cache(maxsize=1)(
            lambda stage: FrozenPrefix(model.backbone, stage, self.precision, self.device)
        )
        self.describe_images = lru_cache(maxsize=8)(data.describe)
        self.loaded: dict[FeatureKey, Tensor] = {}
        # How often the run takes all outputs.
        self.uses: Counter[FeatureKey] = Counter()
        for epoch in range(min(first_epoch, epochs), epochs + 1):
            if (stage := self.entry_stages[epoch]) is not None:
                split, view = ("train", self.view(epoch)) if epoch < epochs else ("test", "centre")
                self.uses.update([("val", "centre", stage), (split, view, stage)])

    def view(self, epoch: int) -> CropView:
        """Whose epoch's crops and flips are shown in ``epoch``."""
        if self.data.augmentation == "none":
            return "centre"
        return epoch if self.views is None else epoch % self.views

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of what enters each stage, for one image."""
        return {name: shape[1:] for name, shape in entry_shapes(self.model.backbone, self.data.image_size).items()}

    def is_kept(self, key: FeatureKey) -> bool:
        """Whether these outputs are kept: those no larger than the images, and larger ones that the run takes twice."""
        split, view, stage = key
        if key in self.loaded:
            return True
        if split not in self.kept_splits or (isinstance(view, int) and (self.mixed or self.views is None)):
            return False
        size = self.shapes[stage].numel() * PRECISIONS[self.precision].itemsize
        is_small = size <= 3 * self.data.image_size**2
        return (is_small or self.uses[key] > 1) and self.data.cache.fits(size * self.data.sizes[split])

    def prepare(self, *splits: str) -> None:
        """Make what the run will take of the splits, so that no epoch has to wait for it."""
        for key in self.uses:
            if key[0] in splits and self.is_kept(key):
                self.outputs(*key)

    def before_head(self, split: str, *views: CropView) -> tuple[Tensor, Tensor]:
        """What enters the head, float32 (n, ...), and labels (n,): all images of a split, view by view, on the device."""
        # Of a set with no room on a GPU the features wait on the CPU.
        parts = [self.outputs(split, view, "head").float().to(self.device) for view in views]
        return torch.cat(parts), self.labels(split).repeat(len(views)).to(self.device)

    @property
    def summary(self) -> dict[str, Any]:
        """What a run's record says: the stage that images enter, and which views of them."""
        fresh = self.mixed or self.views is None or not self.model.groups
        views = {"views": None if fresh else self.views, "view_seed": self.view_seed}
        return {"stop": self.entry_stages[-1], "precision": self.precision, **views}

    def outputs(self, split: str, view: CropView, stage: str) -> Tensor:
        """What the prefix before ``stage`` makes of all images of a split, (n, ...), from the cache or into it."""
        key, random = (split, view, stage), isinstance(view, int)
        if key not in self.loaded:
            crops = f"view {view} of seed {self.view_seed}" if random else view
            what = f"{self.data.name}, {split}, {crops}: {self.model.backbone.name} before {stage} in {self.precision}"

            images = self.images(split, random)
            keys: list[Key] = [(view, k) if random else k for k in range(len(images))]

            def compute(pixels: Tensor) -> Tensor:
                return self.prefix(stage)(pixels if random else pixels.flip(FLIPPED_AXES[view]))

            entry = self.keep(what, self.describe(key), images, keys, compute)
            flat = entry.tensor(PRECISIONS[self.precision])
            # A CPU maps the file.
            features = flat.view(-1, *entry.shapes[0][1:])
            self.loaded[key] = features.to(self.device) if has_room(self.device, flat.nbytes) else features
        return self.loaded[key]

    def keep(
        self,
        what: str,
        description: Mapping[str, Any],
        images: ImageCrops,
        keys: Sequence[Key],
        compute: Callable[[Tensor], Tensor],
    ) -> Entry:
        """What a function makes of images, uint8 (n, 3, size, size), from the cache or into it."""

        def build(writer: Writer) -> None:
            writer.needed |= images.images.costs
            # A GPU cuts out batches faster.
            there = images.to(self.device)
            for start in track(range(0, len(keys), 64), what, self.data.cache.progress):
                writer.write(compute(there.__getitems__(keys[start : start + 64])[0]))

        return self.data.cache.get("features", what, description, "prefix", build)

    def describe(self, key: FeatureKey) -> dict[str, Any]:
        """All that the outputs follow from: their key in the cache, whose words stay as earlier versions wrote them."""
        (split, view, stage), backbone = key, self.model.backbone
        stages = backbone.stages[: backbone.stage_names.index(stage)]
        random = {"seed": self.view_seed, "augmentation": self.data.augmentation} if isinstance(view, int) else {}
        if random and self.data.flip != "horizontal":
            random |= {"flip": self.data.flip}
        if backbone.norm != (ARTICLE.mean, ARTICLE.std):
            random |= {"norm": backbone.norm}
        return {
            "pictures": self.describe_images(split, isinstance(view, int)),
            "view": view,
            "size": self.data.image_size,
            **random,
            "weights": fingerprint_stages(backbone, stages),
            "backbone": backbone.name,
            "stop": stage,
            "precision": self.precision,
            "device": self.device.type,
            "torch": torch.__version__,
            # Under True earlier versions kept fp32, whatever the precision.
            **({"pooled": {"fp32": True}.get(self.precision, self.precision)} if backbone.places else {}),
        }

    @lru_cache(maxsize=8)  # noqa: B019 (as long-lived as the run)
    def images(self, split: str, random: bool) -> ImageCrops:
        return self.data.crops(split, self.view_seed if random else None)

    def labels(self, split: str) -> Tensor:
        """Labels of a split, int64 (n,)."""
        return torch.tensor(self.data.images[split].labels)

    def first_images(self) -> Tensor:
        """The images of the run's first training batch, uint8 (n, 3, size, size)."""
        sampler = self.data.sampler("train", shuffled=True)
        keys = list(sampler)[: self.data.batch_size // sampler.world]
        return self.images("train", random=True).__getitems__(keys)[0]

    def train_dataloader(self) -> DataLoader:
        # The images' loader has workers, if that helps.
        behind_prefix = any(self.entry_stages) and not self.mixed
        return self._loader("train", random=True) if behind_prefix else self.data.train_dataloader()

    def val_dataloader(self) -> DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader:
        """The split's images in their order, none changed at random: the train split too."""
        return self._loader(split, random=False)

    def _loader(self, split: str, random: bool) -> DataLoader:
        return self.data.loader(
            FeatureDataset(self, split, random), self.data.sampler(split, shuffled=random), workers=0
        )


# The data as a network takes them.
RunData = ImageDataModule | FeatureDataModule


class FeatureDataset(Dataset):
    """A split behind the prefix as it is in the running epoch, a batch of keys at a time; changed at random, or not."""

    def __init__(self, owner: FeatureDataModule, split: str, random: bool) -> None:
        self.owner, self.split, self.random, self.labels = owner, split, random, owner.labels(split)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, str]:
        owner = self.owner
        # Where nothing is left to train Lightning's epoch stays at 0.
        epoch = max(owner.first_epoch, owner.data.trainer.current_epoch)
        stage = owner.entry_stages[min(epoch, len(owner.entry_stages) - 1)]
        # Under Lightning's overfit_batches keys are plain indices: one epoch over and over.
        in_order = not isinstance(keys[0], tuple)
        indices = list(keys) if in_order else [index for _, index in keys]
        view: CropView = owner.view(0 if in_order else keys[0][0]) if self.random else "centre"
        if stage is not None and owner.is_kept((self.split, view, stage)):
            features = owner.outputs(self.split, view, stage)[indices]
            return features, self.labels[indices], stage
        source = owner.images(self.split, self.random)
        images, labels = source.__getitems__([(view, index) for index in indices] if self.random else indices)
        return (images, labels) if stage is None else (owner.prefix(stage)(images), labels, stage)

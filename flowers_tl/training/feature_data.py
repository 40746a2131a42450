"""Images seen through the frozen prefix: batches that enter the network where learning begins.

Val and test pass the prefix once. A training image passes it in ``views`` variants, the crops and flips of the first
``views`` epochs; epoch e then takes variant e mod ``views``. What was computed is kept in the cache, under a key of all
that it follows from; what is too large to be worth keeping is computed afresh, by the same function, to the same bits.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flowers_tl.data.cached.decoded_images import ImageCrops, Key, has_room
from flowers_tl.data.cached.disk_cache import Writer
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_prefix import PRECISIONS, FrozenPrefix, find_entry_stage, fingerprint
from flowers_tl.utils.errors import UserError, suggest

CropView = int | str  # an epoch whose crops and flips are shown, `centre`, or `mirrored`: the centre's mirror image


class FeatureDataModule(L.LightningDataModule):
    """A data module whose batches have passed the frozen prefix: (features, labels, name of the stage they enter).

    Batches of epochs without a prefix are (images, labels).

    Args:
        data: where the images come from; it has a cache.
        model: whose strategy says where learning begins, and whose frozen weights are taken as they are now.
        trainer: whose device computes, and that knows the epoch.
        epochs: of the run, of which those before ``first_epoch`` are done.
        chosen: ``views``, ``view_seed`` and ``precision``, see :class:`flowers_tl.config.schema.CacheConfig`.
        keep: splits of which whole passes are made; the others are computed batch by batch.

    Raises:
        UserError: if a choice makes no sense.
    """

    def __init__(
        self,
        data: ImageDataModule,
        model: TransferClassifier,
        trainer: L.Trainer,
        epochs: int,
        chosen: Mapping[str, Any],
        first_epoch: int = 0,
        keep: Sequence[str] = ("train", "val", "test"),
    ) -> None:
        super().__init__()
        self.data, self.model, self.keep = data, model, keep
        validate_cache_options(chosen)
        self.device: torch.device = trainer.strategy.root_device
        data.trainer = trainer
        self.views, self.precision = chosen["views"], chosen["precision"]
        self.view_seed = data.seed if chosen["view_seed"] is None else chosen["view_seed"]
        self.stops = [find_entry_stage(model, epoch) for epoch in range(epochs + 1)]
        self.first_epoch, self.mixed = first_epoch, model.mixing is not None
        self.prefix = lru_cache(maxsize=1)(lambda stop: FrozenPrefix(model.backbone, stop, self.precision, self.device))
        self.held: dict[tuple[str, CropView, str], Tensor] = {}
        self.uses = self._count_uses(range(first_epoch, epochs))

    def _count_uses(self, epochs: range) -> Counter[tuple[str, CropView, str]]:
        """How often the run takes all outputs of (split, view, stop)."""
        uses: Counter[tuple[str, CropView, str]] = Counter()
        for epoch in epochs:
            if (stop := self.stops[epoch]) is not None:
                uses["val", "centre", stop] += 1
                uses["train", self.view(epoch), stop] += 1
        if self.stops[-1] is not None:
            uses.update([("val", "centre", self.stops[-1]), ("test", "centre", self.stops[-1])])
        return uses

    def view(self, epoch: int) -> int:
        """Whose epoch's crops and flips are shown in ``epoch``."""
        return epoch if self.views is None else epoch % self.views

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of what enters each stage, for one image."""
        with torch.device("meta"):
            backbone = copy.deepcopy(self.model.backbone).to("meta").eval()
            x = torch.empty(1, 3, self.data.image_size, self.data.image_size)
        found, start = {}, None
        for stop in backbone.stage_names[1:]:
            x = backbone.run(x, start, stop)
            found[stop], start = x.shape[1:], stop
        return found

    def kept(self, split: str, view: CropView, stop: str) -> bool:
        """Whether these outputs are kept: those no larger than the images, and larger ones that the run takes twice."""
        if (split, view, stop) in self.held:
            return True
        if split not in self.keep or (isinstance(view, int) and (self.mixed or self.views is None)):
            return False
        one = self.shapes[stop].numel() * PRECISIONS[self.precision].itemsize
        worth = one <= 3 * self.data.image_size**2 or self.uses[split, view, stop] > 1
        return worth and self.data.cache.fits(one * self.data.sizes[split])

    def prepare(self, *splits: str) -> None:
        """Make what the run will take of the splits, so that no epoch has to wait for it."""
        for split, view, stop in self.uses:
            if split in splits and self.kept(split, view, stop):
                self.outputs(split, view, stop)

    def before_head(self, split: str, *views: CropView) -> tuple[Tensor, Tensor]:
        """What enters the head, float32 (n, ...), and labels (n,): all images of a split in one view after another."""
        parts = [self.outputs(split, view, "head").float() for view in views]
        return torch.cat(parts), self.labels(split).repeat(len(views)).to(self.device)

    @property
    def summary(self) -> dict[str, Any]:
        """What a run's record says: where learning begins, and which images it sees there."""
        fresh = self.mixed or self.views is None or not self.model.groups
        views = {"views": None if fresh else self.views, "view_seed": self.view_seed}
        return {"stop": self.stops[-1], "precision": self.precision, **views}

    def outputs(self, split: str, view: CropView, stop: str) -> Tensor:
        """What the prefix before ``stop`` makes of all images of a split, (n, ...), from the cache or into it."""
        if (split, view, stop) not in self.held:
            shown = f"view {view} of seed {self.view_seed}" if isinstance(view, int) else view
            what = f"{self.data.name}, {split}, {shown}: {self.model.backbone.name} before {stop} in {self.precision}"

            def build(writer: Writer) -> None:
                self._write(writer, split, view, stop, what)

            entry = self.data.cache.get("features", what, self._describe(split, view, stop), "prefix", build)
            flat = entry.tensor(PRECISIONS[self.precision])
            features = flat.view(-1, *entry.shapes[0][1:])  # a CPU maps the file
            self.held[split, view, stop] = features.to(self.device) if has_room(self.device, flat.nbytes) else features
        return self.held[split, view, stop]

    def _describe(self, split: str, view: CropView, stop: str) -> dict[str, Any]:
        backbone = self.model.backbone
        stages = backbone.stages[: backbone.stage_names.index(stop)]
        prefix = {"weights": fingerprint(backbone, stages), "backbone": backbone.name, "stop": stop}
        how = {"precision": self.precision, "device": self.device.type, "torch": torch.__version__}
        random = {"seed": self.view_seed, "augmentation": self.data.augmentation} if isinstance(view, int) else {}
        shown = {"view": view, "size": self.data.image_size, **random}
        return {"pictures": self.data.describe(split, random=bool(random)), **shown, **prefix, **how}

    def _write(self, writer: Writer, split: str, view: CropView, stop: str, what: str) -> None:
        prefix, images = self.prefix(stop), self.images(split, random=isinstance(view, int))
        keys: list[Key] = [(view, k) if isinstance(view, int) else k for k in range(len(images))]
        for some in self.data.cache.batches(keys, what):
            batch, _ = images.__getitems__(some)
            writer.write(prefix(batch.flip(-1) if view == "mirrored" else batch))

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
        if self.mixed or not any(self.stops):
            return self.data.train_dataloader()  # with workers, if that helps
        seen = FeatureDataset(self, "train", random=True)
        return self.data.loader(seen, self.data.sampler("train", shuffled=True), workers=0)

    def val_dataloader(self) -> DataLoader:
        return self.in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self.in_order("test")

    def in_order(self, split: str) -> DataLoader:
        """The split's images in their order, none changed at random: the train split too."""
        seen = FeatureDataset(self, split, random=False)
        return self.data.loader(seen, self.data.sampler(split, shuffled=False), workers=0)


class FeatureDataset(Dataset):
    """A split behind the prefix as it is in the running epoch, a batch of keys at a time; changed at random, or not."""

    def __init__(self, owner: FeatureDataModule, split: str, random: bool) -> None:
        self.owner, self.split, self.random, self.known = owner, split, random, owner.labels(split)

    def __len__(self) -> int:
        return len(self.known)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, str]:
        owner = self.owner
        epoch = max(owner.first_epoch, owner.data.trainer.current_epoch)  # where nothing is left to train it stays at 0
        stop = owner.stops[min(epoch, len(owner.stops) - 1)]
        # Under Lightning's overfit_batches keys are plain indices: one epoch over and over.
        pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
        indices = [index for _, index in pairs]
        view: CropView = owner.view(pairs[0][0]) if self.random else "centre"
        if stop is not None and owner.kept(self.split, view, stop):
            features = owner.outputs(self.split, view, stop)[indices]
            return features, self.known[indices], stop
        source = owner.images(self.split, self.random)
        images, labels = source.__getitems__([(view, index) for index in indices] if self.random else indices)
        return (images, labels) if stop is None else (owner.prefix(stop)(images), labels, stop)


def validate_cache_options(chosen: Mapping[str, Any]) -> None:
    """Raise UserError if ``views``, ``view_seed`` or ``precision`` make no sense."""
    if chosen["views"] is not None and chosen["views"] < 1:
        raise UserError(f"cache.views={chosen['views']} must be at least 1; null makes fresh crops in each epoch.")
    if chosen["view_seed"] is not None and chosen["view_seed"] < 0:
        raise UserError(f"cache.view_seed={chosen['view_seed']} must be at least 0; null takes the run's seed.")
    if chosen["precision"] not in PRECISIONS:
        raise UserError(
            f"cache.precision={chosen['precision']} is unknown: {suggest(chosen['precision'], PRECISIONS)}."
        )

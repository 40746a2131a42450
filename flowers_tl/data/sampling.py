"""Randomness without memory: an image's crop follows from (seed, epoch, image) alone.

So a run gives the same numbers with any number of workers, a resumed run takes the crops that it would have taken, and an
interrupted epoch leaves no trace. The sampler yields ``(epoch, index)`` pairs, because worker processes that live on over
epochs hold copies of the dataset, which would not learn of the epoch otherwise.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from lightning import Trainer
from torch.utils.data import Sampler

# Most images of a batch on a GPU without gradients, unless batches of the training are larger.
GPU_BATCH = 256


def derive_seed(*numbers: int) -> int:
    """Mix non-negative integers into one 64-bit seed; near inputs give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def subsample_per_class(labels: Sequence[int], count: int, seed: int) -> list[int]:
    """Indices, ascending, of at most ``count`` random images of each class; those of a smaller count are among them."""
    order = np.random.default_rng(derive_seed(seed)).permutation(len(labels))
    shuffled = np.asarray(labels)[order]
    return sorted(index for label in np.unique(labels) for index in order[shuffled == label][:count].tolist())


class EpochSampler(Sampler[tuple[int, int]]):
    """Every epoch a new order of all images, the same on every machine, dealt out to ``world`` processes.

    Lightning calls :meth:`set_epoch`. All processes get equally many images, since each batch ends in a collective
    operation; where the images do not divide evenly, the first ones of the order are dealt out again.
    """

    def __init__(self, size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.size, self.seed, self.rank, self.world = size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self.order(np.random.default_rng([self.seed, self.epoch]))
        dealt = np.resize(order, len(self) * self.world)[self.rank :: self.world]
        return ((self.epoch, int(index)) for index in dealt)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """The epoch's images in their order, int64 (size,)."""
        return random.permutation(self.size)


class BalancedSampler(EpochSampler):
    """As long an epoch, in which every class comes equally often, and within a class every image as equally as can be.

    Images of a small class come several times; some of a large class come in another epoch.
    """

    def __init__(self, labels: Sequence[int], seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(len(labels), seed, rank, world)
        self.members = [np.flatnonzero(np.asarray(labels) == label) for label in np.unique(labels)]

    def order(self, random: np.random.Generator) -> np.ndarray:
        turns = np.bincount(np.resize(random.permutation(len(self.members)), self.size), minlength=len(self.members))
        drawn = [np.resize(random.permutation(images), n) for images, n in zip(self.members, turns, strict=True)]
        return random.permutation(np.concatenate(drawn))


def balancing_weights(labels: Sequence[int], num_classes: int) -> list[float]:
    """A weight for each class that gives all of them the same part in a loss: images / (classes * images of it).

    Their mean over the images is 1. A class without images has 0.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)).tolist()


def evaluation_batch(size: int, trainer: Trainer | None) -> int:
    """Images of a batch without gradients where training takes ``size``: on a GPU more, which take hardly longer there.

    They are at most eight times as many, and as many where ``trainer.limit_*`` counts batches.
    """
    if trainer is None or trainer.strategy.root_device.type != "cuda":
        return size
    whole = trainer.limit_val_batches == trainer.limit_test_batches == 1.0
    return max(size, min(8 * size, GPU_BATCH)) if whole else size

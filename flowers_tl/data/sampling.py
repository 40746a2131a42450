"""Randomness without memory: what an image's crop is follows from (seed, epoch, image) alone.

So a run gives the same numbers with any number of workers, a resumed run sees what it would have seen, and an
interrupted epoch leaves no trace. The sampler hands out ``(epoch, index)`` pairs because workers that live on over
epochs hold copies of the dataset that could not be told the epoch otherwise.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


def derive_seed(*numbers: int) -> int:
    """Mix non-negative integers into one 64-bit seed; near inputs give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def subsample_per_class(labels: Sequence[int], count: int, seed: int) -> list[int]:
    """Indices, ascending, of at most ``count`` random images of each class; those of a smaller count are among them."""
    taken: Counter[int] = Counter()
    chosen = []
    for index in np.random.default_rng(derive_seed(seed)).permutation(len(labels)).tolist():
        if taken[labels[index]] < count:
            taken[labels[index]] += 1
            chosen.append(index)
    return sorted(chosen)


class EpochSampler(Sampler[tuple[int, int]]):
    """Every epoch a fresh order of all images, the same on every machine, dealt out to ``world`` processes.

    Lightning calls :meth:`set_epoch`. All processes get equally many images, since each batch ends in a collective
    operation; where the images do not divide, the first ones of the order are dealt out again.
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
    """An epoch as long, in which every class comes equally often, and within it every image as equally as can be.

    Images of a small class come several times, and of a large one some have their turn in another epoch.
    """

    def __init__(self, labels: Sequence[int], seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(len(labels), seed, rank, world)
        self.members = [np.flatnonzero(np.asarray(labels) == label) for label in np.unique(labels)]

    def order(self, random: np.random.Generator) -> np.ndarray:
        turns = np.bincount(np.resize(random.permutation(len(self.members)), self.size), minlength=len(self.members))
        taken = [np.resize(random.permutation(own), n) for own, n in zip(self.members, turns, strict=True)]
        return random.permutation(np.concatenate(taken))


def balancing_weights(labels: Sequence[int], num_classes: int) -> list[float]:
    """A weight for each class that gives all of them the same part in a loss: images / (classes * images of it).

    Their mean over the images is 1. A class without images has 0.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)).tolist()

"""Splits as plain data: which files, of which classes; and how a split that a data set lacks is cut out of train."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowers_tl.utils.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageSplit:
    """Labelled images.

    Attributes:
        files: their paths.
        labels: the number of each one's class.
        classes: what the classes are called.
    """

    files: list[Path]
    labels: list[int]
    classes: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def __add__(self, other: "ImageSplit") -> "ImageSplit":
        return ImageSplit(self.files + other.files, self.labels + other.labels, self.classes)

    def part(self, indices: Iterable[int]) -> "ImageSplit":
        """Some of the images, in the order of the indices."""
        indices = list(indices)
        return ImageSplit([self.files[k] for k in indices], [self.labels[k] for k in indices], self.classes)

    def without(self, files: Collection[Path]) -> "ImageSplit":
        """The images that are not among some files."""
        return self.part(index for index, file in enumerate(self.files) if file not in files)

    def spread(self, most: int) -> "ImageSplit":
        """At most so many of the images, spread evenly over the split."""
        size = len(self)
        return self.part([k * size // most for k in range(most)]) if size > most else self


def add_missing_splits(
    splits: Mapping[str, ImageSplit], shares: Mapping[str, float], seed: int, root: Path
) -> dict[str, ImageSplit]:
    """Add those of ``train``, ``val`` and ``test`` that a data set lacks, cut out of its train split by class.

    Each class gives the same share of its images, at least one. Which ones follows from the seed and from their names
    below ``root``, image by image: one that is added or removed moves hardly any other, and another share of val
    leaves test as it is.

    Args:
        splits: those that the data set has.
        shares: of the train split's images that go to ``val`` and to ``test``, where these are lacking.
        seed: another one cuts out other images.
        root: folder of the data set, which may lie anywhere.

    Raises:
        UserError: if there is no ``train``, a split is empty, the shares leave nothing, or a class has too few images to fill every split.
    """
    if empty := [split for split, images in splits.items() if not len(images)]:
        raise UserError(f"The {empty[0]} split in {root} has no images: each of {', '.join(SPLITS)} needs some.")
    if "train" not in splits:
        raise UserError(
            f"{root} has {' and '.join(splits)}, but no train: put the training images into {root / 'train'}; to evaluate all "
            "images, use split=all."
        )
    lacking = {split: shares[split] for split in ("test", "val") if split not in splits}
    if not lacking:
        return dict(splits)
    if min(lacking.values()) <= 0 or sum(lacking.values()) >= 1:
        named = " and ".join(f"data.{split}_fraction={share}" for split, share in lacking.items())
        raise UserError(f"{named}: each share must be above 0, and their sum below 1, since the rest is for training.")
    pool = splits["train"]
    parts: dict[str, list[int]] = {split: [] for split in SPLITS if split == "train" or split in lacking}
    for label in np.unique(pool.labels):
        members = np.flatnonzero(np.equal(pool.labels, label)).tolist()
        members.sort(key=lambda index: hash_rank(pool.files[index].relative_to(root), seed))
        counts = {split: max(1, round(share * len(members))) for split, share in lacking.items()}
        if sum(counts.values()) >= len(members):
            remedy = "add images, or remove the class"
            # With fewer images than splits no share is small enough.
            if len(members) > len(counts):
                remedy = "add images, remove the class, or use a smaller data.val_fraction and data.test_fraction"
            raise UserError(
                f"The class '{pool.classes[label]}' has only {len(members)} image{'s' * (len(members) > 1)}, too few for {', '.join(parts)}: {remedy}."
            )
        for split, count in counts.items():
            parts[split] += members[:count]
            members = members[count:]
        parts["train"] += members
    return {**splits, **{split: pool.part(sorted(indices)) for split, indices in parts.items()}}


def hash_rank(name: Path, seed: int) -> bytes:
    """A random number that an image's name and the seed decide: images with the lowest are cut out first."""
    return hashlib.sha256(f"{seed} {name.as_posix()}".encode(errors="surrogateescape")).digest()


def name_classes(splits: Mapping[str, ImageSplit], num_classes: int | None, root: Path) -> list[str]:
    """Names of so many classes, or of all. Raises UserError if these are fewer than the labels."""
    names, labels = splits["train"].classes, 1 + max(max(images.labels) for images in splits.values() if len(images))
    count = len(names) if num_classes is None else num_classes
    if count < labels:
        raise UserError(
            f"data.num_classes={count} is fewer than the {labels} classes in {root}: leave it out, or set it to {labels}."
        )
    return [*names[:count], *(f"class {k}" for k in range(len(names), count))]

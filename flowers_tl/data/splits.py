"""Splits as plain data: which files, of which classes; and how a split that a data set lacks is cut out of train."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from flowers_tl.utils.errors import UserError

SPLITS = ("train", "val", "test")
# The name of the group of each image that is in one.
Groups = Mapping[Path, str]


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


@dataclass
class Cutting:
    """How splits that a data set lacks are cut out of train; see :func:`add_missing_splits`.

    With ``folds`` all images are dealt out to so many parts (:func:`deal_folds`), and the part ``fold`` is test.
    ``groups`` says which images stay together, see :func:`flowers_tl.data.groups.find_groups`.
    """

    val_fraction: float = 0.15
    test_fraction: float = 0.15
    split_seed: int = 0
    groups: str | None = None
    folds: int | None = None
    fold: int = 0

    def __post_init__(self) -> None:
        if self.fold >= (self.folds or 1):
            remedy = f"use 0 to {self.folds - 1}" if self.folds else "set data.folds too"
            raise UserError(f"data.fold={self.fold} is none of data.folds={self.folds}: {remedy}.")

    def apply(self, splits: Mapping[str, ImageSplit], root: Path, groups: Groups) -> dict[str, ImageSplit]:
        """All three splits. Raises UserError where they can't be cut, or images of a group are in two that the data set has."""
        shares = {"val": self.val_fraction, "test": self.test_fraction}
        if self.folds:
            if given := [split for split in splits if split != "train"]:
                raise UserError(
                    f"data.folds={self.folds} cuts test and val out of all images, but {root} has its own {' and '.join(given)}: "
                    "leave data.folds out, or remove these splits."
                )
            pool = splits["train"]
            folds = deal_folds(pool, self.folds, order_by_hash(pool, self.split_seed, root, groups))
            rest = sorted(k for number, fold in enumerate(folds) if number != self.fold for k in fold)
            splits = {"train": pool.part(rest), "test": pool.part(sorted(folds[self.fold]))}
        places: dict[str, tuple[str, Path]] = {}
        for split, images in splits.items():
            for file in images.files if groups else ():
                first, other = places.setdefault(groups.get(file, str(file)), (split, file))
                if first != split:
                    raise UserError(
                        f"{other} ({first}) and {file} ({split}) are of one group by data.groups={self.groups}: put them into one "
                        "split, or set data.groups=null."
                    )
        return add_missing_splits(splits, shares, self.split_seed, root, groups)


def add_missing_splits(
    splits: Mapping[str, ImageSplit],
    shares: Mapping[str, float],
    seed: int,
    root: Path,
    groups: Groups = MappingProxyType({}),
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
        groups: images of the same one stay together, so that the shares are only met as nearly as can be.

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
    parts: dict[str, list[int]] = {split: [] for split in SPLITS if split == "train" or split in lacking} | cut(
        pool, lacking, order_by_hash(pool, seed, root, groups)
    )
    return {**splits, **{split: pool.part(sorted(indices)) for split, indices in parts.items()}}


def order_by_hash(pool: ImageSplit, seed: int, root: Path, groups: Groups) -> list[list[int]]:
    """The indices of a split's images, those of a group together, in a random order that their names and the seed decide."""
    units: dict[str, list[int]] = {}
    for index in sorted(range(len(pool)), key=lambda index: hash_rank(pool.files[index].relative_to(root), seed)):
        units.setdefault(groups.get(file := pool.files[index], f"/{file}"), []).append(index)
    return list(units.values())


def cut(pool: ImageSplit, shares: Mapping[str, float], units: list[list[int]]) -> dict[str, list[int]]:
    """Take units of images out of a split, by class as near to the shares as can be; what is left is ``train``.

    A unit is taken where that brings the classes nearer to their shares, and leaves one of each class for every split to come.
    """
    totals, left = Counter(pool.labels), Counter(label for unit in units for label in {pool.labels[k] for k in unit})
    names, grouped = ", ".join(split for split in SPLITS if split == "train" or split in shares), len(units) < len(pool)
    for label in sorted(totals):
        count, wanted = totals[label], sum(max(1, round(share * totals[label])) for share in shares.values())
        if wanted >= count or left[label] <= len(shares):
            few = (
                f"{left[label]} group{'s' * (left[label] > 1)} of images"
                if grouped
                else f"{count} image{'s' * (count > 1)}"
            )
            remedy = "add images, or remove the class"
            # With fewer images than splits no share is small enough.
            if left[label] > len(shares):
                remedy = "add images, remove the class, or use a smaller data.val_fraction and data.test_fraction"
            raise UserError(f"The class '{pool.classes[label]}' has only {few}, too few for {names}: {remedy}.")
    parts: dict[str, list[int]] = {}
    for later, (split, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        lacks = {label: max(1, round(share * count)) for label, count in totals.items()}
        parts[split], units = cut_split(pool, units, lacks, left, later)
        if without := sorted(set(totals) - {pool.labels[k] for k in parts[split]}):
            raise UserError(
                f"No group of class '{pool.classes[without[0]]}' can go to {split} without taking a class from another split: use "
                "smaller groups (data.groups), or sort the images into splits yourself."
            )
    return parts | {"train": [k for unit in units for k in unit]}


def cut_split(
    pool: ImageSplit, units: list[list[int]], lacks: dict[int, int], left: Counter[int], later: int
) -> tuple[list[int], list[list[int]]]:
    """Take units for one split: first those that bring it nearer to what it ``lacks`` by class, then one of each class without any.

    So many splits come ``later``, and ``left`` counts the units by class: both counters are brought up to date.

    Returns:
        The images of the split, and the units that are left.
    """
    taken: list[list[int]] = []
    # Groups that are all larger than the share: the smallest one of such a class.
    for must, order in ((False, units), (True, sorted(units, key=len))):
        known = {pool.labels[k] for unit in taken for k in unit}
        for unit in order:
            has = Counter(pool.labels[k] for k in unit)
            nearer = sum(abs(lacks[label]) - abs(lacks[label] - count) for label, count in has.items()) > 0
            if (not known.issuperset(has) if must else nearer) and all(left[label] > later for label in has):
                taken.append(unit)
                known.update(has)
                lacks |= {label: lacks[label] - count for label, count in has.items()}
                left.subtract(set(has))
    firsts = {unit[0] for unit in taken}
    return [k for unit in taken for k in unit], [unit for unit in units if unit[0] not in firsts]


def deal_folds(pool: ImageSplit, folds: int, units: list[list[int]]) -> list[list[int]]:
    """Deal out units of images to so many folds, in each of which every class is about equally frequent.

    The largest units come first; each goes where its classes are the rarest, and of such folds to the smallest.

    Raises:
        UserError: if a class has fewer units than there are folds.
    """
    totals, dealt = np.bincount(pool.labels, minlength=len(pool.classes)), list[list[int]]([] for _ in range(folds))
    units_of = Counter(label for unit in units for label in {pool.labels[k] for k in unit})
    label, few = min(units_of.items(), key=lambda item: item[1])
    if few < folds:
        what = "image" if len(units) == len(pool) else "group"
        raise UserError(
            f"The class '{pool.classes[label]}' has only {few} {what}{'s' * (few > 1)}, fewer than data.folds={folds}: use fewer "
            "folds, add images, or remove the class."
        )
    counts = np.zeros((folds, len(totals)))
    for unit in sorted(units, key=len, reverse=True):
        has = np.bincount([pool.labels[k] for k in unit], minlength=len(totals))
        # Rounded, so that no machine decides a tie by its last bit.
        common = np.round((counts * has / np.maximum(totals, 1) ** 2).sum(axis=1), 9)
        fold = min(range(folds), key=lambda fold: (common[fold], len(dealt[fold]), fold))
        dealt[fold] += unit
        counts[fold] += has
    return dealt


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

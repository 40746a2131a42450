"""Splits as plain data: which files, of which classes; and how a split that a set lacks is cut out of its train split."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    found: Mapping[str, ImageSplit], shares: Mapping[str, float], seed: int, root: Path
) -> dict[str, ImageSplit]:
    """Add to the splits of a set those of ``train``, ``val`` and ``test`` that it lacks, cut out of train by class.

    Each class gives the same share of its images, at least one. Which ones follows from the seed and from their names
    below ``root``, image by image: one that is added or removed moves hardly any other, and another share of val
    leaves test as it is.

    Args:
        found: splits that the set has.
        shares: of the train split's images that go to ``val`` and to ``test``, where these are lacking.
        seed: of the choice.
        root: folder of the set, which may lie anywhere.

    Raises:
        UserError: if there is no ``train``, a split is empty, the shares leave nothing, or a class has too few images to fill every split.
    """
    if empty := [split for split, images in found.items() if not len(images)]:
        raise UserError(f"The {empty[0]} split in {root} is empty: each of {', '.join(SPLITS)} needs images.")
    if "train" not in found:
        raise UserError(
            f"{root} has {' and '.join(found)}, but no train: put the images to learn from into {root / 'train'}; evaluate "
            "measures all with split=all."
        )
    lacking = {split: shares[split] for split in ("test", "val") if split not in found}
    if not lacking:
        return dict(found)
    if min(lacking.values()) <= 0 or sum(lacking.values()) >= 1:
        named = " and ".join(f"data.{split}_fraction={share}" for split, share in lacking.items())
        raise UserError(f"{named} can't be: a share must be above 0, and something must be left to train on.")
    pool = found["train"]
    taken: dict[str, list[int]] = {split: [] for split in SPLITS if split == "train" or split in lacking}
    members: dict[int, list[int]] = {}
    for index, label in enumerate(pool.labels):
        members.setdefault(label, []).append(index)
    for label, own in members.items():
        own = sorted(own, key=lambda index: hash_rank(pool.files[index].relative_to(root), seed))
        counts = {split: max(1, round(share * len(own))) for split, share in lacking.items()}
        if sum(counts.values()) >= len(own):
            remedy = "add images, or remove the class"
            if len(own) > len(counts):  # else no share is small enough
                remedy = "add images, remove the class, or take smaller data.val_fraction and data.test_fraction"
            raise UserError(
                f"The class '{pool.classes[label]}' has only {len(own)} image{'s' * (len(own) > 1)}, too few for {', '.join(taken)}: {remedy}."
            )
        for split, count in counts.items():
            taken[split] += own[:count]
            own = own[count:]
        taken["train"] += own
    return {**found, **{split: pool.part(sorted(indices)) for split, indices in taken.items()}}


def hash_rank(name: Path, seed: int) -> bytes:
    """An image's lot: those of the lowest are chosen first."""
    return hashlib.sha256(f"{seed} {name.as_posix()}".encode()).digest()


def name_classes(found: Mapping[str, ImageSplit], wanted: int | None, root: Path) -> list[str]:
    """Names of the ``wanted`` classes, or of all. Raises UserError if these are fewer than the labels."""
    names, labels = found["train"].classes, 1 + max(max(split.labels) for split in found.values() if len(split))
    wanted = len(names) if wanted is None else wanted
    if wanted < labels:
        raise UserError(
            f"data.num_classes={wanted} is fewer than the {labels} classes in {root}: leave it out, or set it to {labels}."
        )
    return [*names[:wanted], *(f"class {k}" for k in range(len(names), wanted))]

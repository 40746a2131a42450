"""A network's predictions for each image of a split: ``predictions.npz`` in the folder of a run or an evaluation."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from flowers_tl.runs.read_record import printable, validate_unpacked
from flowers_tl.utils.files import atomic_write

FILE = "predictions.npz"
# What reading a damaged one raises.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions for a split's images, in the order of the split.

    Attributes:
        logits: float32 (n, classes).
        labels: int64 (n,).
        images: paths below the data's root, with forward slashes.
    """

    logits: np.ndarray
    labels: np.ndarray
    images: list[str]


@dataclass(frozen=True)
class Predictions:
    """Predictions by split, and the names of the classes. A run has ``val`` and ``test`` as far as it measured them."""

    class_names: list[str]
    splits: Mapping[str, SplitPredictions]

    def write(self, folder: Path) -> None:
        """Write :data:`FILE` into a folder."""
        arrays: dict[str, Any] = {"class_names": np.array(self.class_names)}
        for name, split in self.splits.items():
            arrays[f"{name}_logits"] = split.logits.astype(np.float32)
            arrays[f"{name}_labels"] = split.labels.astype(np.int64)
            arrays[f"{name}_pictures"] = np.array(split.images)
        with atomic_write(folder / FILE) as beside, open(beside, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, folder: Path) -> "Predictions | None":
        """Read a folder's predictions; None if it has none. Raises an exception where the file is not such a one."""
        file = folder / FILE
        if not file.is_file():
            return None
        validate_unpacked(file)
        with np.load(file) as arrays:
            names = [key.removesuffix("_logits") for key in arrays if key.endswith("_logits")]
            splits = {name: read_split(arrays, name) for name in names}
            return cls([printable(name) for name in arrays["class_names"].tolist()], splits)


def join(parts: Sequence[SplitPredictions]) -> SplitPredictions:
    """The predictions of several splits as those of one."""
    logits, labels = (np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "labels"))
    return SplitPredictions(logits, labels, [image for part in parts for image in part.images])


def read_split(arrays: Mapping[str, np.ndarray], name: str) -> SplitPredictions:
    """One split of the file's arrays. Raises ValueError where these are of other kinds or shapes."""
    logits, labels, images = (arrays[f"{name}_{part}"] for part in ("logits", "labels", "pictures"))
    fit = logits.ndim == 2 and labels.shape == images.shape == logits.shape[:1]
    if not fit or (logits.dtype.kind, labels.dtype.kind, images.dtype.kind) != ("f", "i", "U"):
        raise ValueError(f"its arrays of {name} do not fit together")
    if len(labels) and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"its labels of {name} are no classes")
    return SplitPredictions(logits, labels, images.tolist())

"""A network's predictions for each image of a split: ``predictions.npz`` in the folder of a run or an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.utils.files import atomic_write

FILE = "predictions.npz"


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
        """Read a folder's predictions; None if it has none."""
        if not (folder / FILE).is_file():
            return None
        with np.load(folder / FILE) as arrays:
            names = [key.removesuffix("_logits") for key in arrays if key.endswith("_logits")]
            splits = {
                name: SplitPredictions(
                    arrays[f"{name}_logits"], arrays[f"{name}_labels"], arrays[f"{name}_pictures"].tolist()
                )
                for name in names
            }
            return cls(arrays["class_names"].tolist(), splits)

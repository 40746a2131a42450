"""Public data sets, as torchvision's classes download and read them; ``torchvision_sets.yaml`` has a row for each."""

import os
from pathlib import Path
from typing import Any

import yaml
from torchvision.datasets import DTD, Country211, EuroSAT, FGVCAircraft, Flowers102, Food101, OxfordIIITPet

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.splits import ImageSplit
from flowers_tl.utils.errors import UserError

TABLE: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
# The classes that a row may name, and their attribute that lists the files: beside `_labels`, or as pairs with the label.
READERS = {
    "Country211": (Country211, "samples"),
    "DTD": (DTD, "_image_files"),
    "EuroSAT": (EuroSAT, "samples"),
    "FGVCAircraft": (FGVCAircraft, "_image_files"),
    "Flowers102": (Flowers102, "_image_files"),
    "Food101": (Food101, "_image_files"),
    "OxfordIIITPet": (OxfordIIITPet, "_images"),
}


class TorchvisionDataModule(ImageDataModule):
    """A data set of the table.

    Args:
        name: the row's name.
        root: folder that holds the set's folder; by default the row's environment variable, else ``data``.
        others: the row's keys, and those of :class:`ImageDataModule`.
    """

    def __init__(self, name: str, root: str | None = None, **others: Any) -> None:
        self.row = TABLE[name]
        self.reader, self.files_attribute = READERS[self.row["reader"]]
        self.options = {key: others.pop(key, default) for key, default in self.row.get("keys", {}).items()}
        super().__init__(root or os.environ.get(self.row.get("environment", "")) or "data", **others)
        self.name, self.default_num_classes = name, self.row["num_classes"]

    def prepare_data(self) -> None:
        """Download what is missing. Raises UserError where that fails, with what to put where."""
        try:
            self.reader(self.root, **self.row["splits"]["train"], **self.options, download=True)
        except (OSError, RuntimeError) as error:
            folder = self.row["folder"]
            otherwise = f", or {self.row['otherwise']}" if "otherwise" in self.row else ""
            raise UserError(
                f"The images are not in {self.root / folder} and can't be downloaded ({error}): put {self.row['unpack']} "
                f"there, or set data.root to the folder that holds {folder}{otherwise}."
            ) from error

    def find_splits(self) -> dict[str, ImageSplit]:
        splits = {}
        for split, arguments in self.row["splits"].items():
            reader = self.reader(self.root, **arguments, **self.options)
            listed = getattr(reader, self.files_attribute)
            files, labels = zip(*listed, strict=True) if self.files_attribute == "samples" else (listed, reader._labels)
            splits[split] = ImageSplit([Path(file) for file in files], list(labels), list(reader.classes))
        return splits

    def remedy(self) -> str:
        return f"remove {self.root / self.row['folder']} to get all of it again"

"""Public sets of images, as torchvision's classes download and read them; each yields plain splits here."""

from pathlib import Path
from typing import Any, ClassVar

from torchvision.datasets import DTD, EuroSAT, Food101, OxfordIIITPet, VisionDataset

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError


class TorchvisionDataModule(ImageDataModule):
    """A set that torchvision knows: a subclass names its class, and how that calls the splits which the set has.

    Args:
        root: folder that holds the set's own; by default ``data``.
        others: as in :class:`ImageDataModule`.
    """

    reader: ClassVar[type[VisionDataset]]
    folder: ClassVar[str]
    """Of the set, below the root."""
    unpacked: ClassVar[str]
    """What belongs into the folder, for whoever puts it there by hand."""
    otherwise: ClassVar[str] = ""
    """What else may be done where it is not there."""

    def __init__(self, root: str | None = None, **others: Any) -> None:
        super().__init__(root or "data", **others)

    def asked(self) -> dict[str, dict[str, Any]]:
        """The reader's arguments for each split that the set has."""
        return {split: {"split": split} for split in SPLITS}

    def listed(self, found: Any) -> ImageSplit:
        """A split out of the reader that holds it."""
        return ImageSplit(found._image_files, found._labels, list(found.classes))

    def prepare_data(self) -> None:
        """Download what is missing. Raises UserError where that fails, with what to put where."""
        try:
            self.reader(self.root, **self.asked()["train"], download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"The images are not in {self.root / self.folder} and can't be downloaded ({error}): put {self.unpacked} "
                f"there, or name the folder that holds {self.folder} with data.root=DIR{self.otherwise}."
            ) from error

    def find_splits(self) -> dict[str, ImageSplit]:
        return {split: self.listed(self.reader(self.root, **asked)) for split, asked in self.asked().items()}

    def remedy(self) -> str:
        return f"remove {self.root / self.folder} to have all of it made anew"


class PetsDataModule(TorchvisionDataModule):
    """Oxford-IIIT Pet: 7,349 images of 37 breeds, in halves ``trainval`` and ``test`` (Parkhi et al. 2012)."""

    name, reader, known_classes, folder = "pets", OxfordIIITPet, 37, "oxford-iiit-pet"
    unpacked = "images.tar.gz and annotations.tar.gz, unpacked,"

    def asked(self) -> dict[str, dict[str, Any]]:
        return {"train": {"split": "trainval"}, "test": {"split": "test"}}

    def listed(self, found: Any) -> ImageSplit:
        return ImageSplit(found._images, found._labels, list(found.classes))


class Food101DataModule(TorchvisionDataModule):
    """Food-101: 101 dishes with 750 training images, some of them mislabelled, and 250 test images (Bossard et al. 2014)."""

    name, reader, known_classes, folder = "food101", Food101, 101, "food-101"
    unpacked = "images and meta, unpacked from food-101.tar.gz,"

    def asked(self) -> dict[str, dict[str, Any]]:
        return {split: {"split": split} for split in ("train", "test")}


class EuroSATDataModule(TorchvisionDataModule):
    """EuroSAT: 27,000 satellite images of 64 by 64 pixels, of 10 kinds of land; it has no splits (Helber et al. 2019)."""

    name, reader, known_classes, folder = "eurosat", EuroSAT, 10, "eurosat"
    unpacked = "2750, unpacked from EuroSAT.zip,"

    def asked(self) -> dict[str, dict[str, Any]]:
        return {"train": {}}

    def listed(self, found: Any) -> ImageSplit:
        files, labels = zip(*found.samples, strict=True)
        return ImageSplit([Path(file) for file in files], list(labels), list(found.classes))


class DTDDataModule(TorchvisionDataModule):
    """Describable Textures: 5,640 images of 47 textures, of which each partition makes thirds (Cimpoi et al. 2014).

    Args:
        partition: 1 to 10.
        others: as in :class:`ImageDataModule`.
    """

    name, reader, known_classes, folder = "dtd", DTD, 47, "dtd"
    unpacked = "dtd, unpacked from dtd-r1.0.1.tar.gz,"

    def __init__(self, root: str | None = None, partition: int = 1, **others: Any) -> None:
        super().__init__(root, **others)
        self.partition = partition
        if not 1 <= partition <= 10:
            raise UserError(f"data.partition={partition} is unknown: there are 1 to 10.")

    def asked(self) -> dict[str, dict[str, Any]]:
        return {split: {"split": split, "partition": self.partition} for split in SPLITS}

"""Oxford Flowers 102 with its official splits."""

import os
from typing import Any

from torchvision.datasets import Flowers102

from flowers_tl.data.torchvision_sets import TorchvisionDataModule


class FlowersDataModule(TorchvisionDataModule):
    """Oxford Flowers 102: 1,020 train, 1,020 val, 6,149 test images of 102 species (Nilsback and Zisserman 2008).

    Args:
        root: folder that holds ``flowers-102/``; by default the environment's FLOWERS102_ROOT, else ``data``.
        others: as in :class:`flowers_tl.data.datamodule.ImageDataModule`.
    """

    name, reader, known_classes, folder = "flowers", Flowers102, 102, "flowers-102"
    unpacked = f"the unpacked 102flowers.tgz (a folder jpg), imagelabels.mat and setid.mat from {Flowers102._download_url_prefix}"
    otherwise = " or FLOWERS102_ROOT, or draw flowers with data=synthetic"

    def __init__(self, root: str | None = None, **others: Any) -> None:
        super().__init__(root or os.environ.get("FLOWERS102_ROOT"), **others)

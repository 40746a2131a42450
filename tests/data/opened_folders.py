"""Folders of photographs, opened as a run opens them."""

from pathlib import Path

from flowers_tl.data.image_folder import FolderDataModule

COUNTS = {"rose": 10, "aster": 8, "poppy, red [1]=x": 6}


def open_folder(root: Path, **arguments) -> FolderDataModule:
    """The data module of a folder, with its splits."""
    data = FolderDataModule(str(root), image_size=32, **arguments)
    data.prepare_data()
    data.setup()
    return data

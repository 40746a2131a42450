"""Images that tests of data share."""

import numpy as np
import pytest
from odd_images import tiff
from PIL import Image

from flowers_tl.utils.notes import log_note


@pytest.fixture(autouse=True)
def heard():
    """Each test is a process that was told nothing yet."""
    log_note.cache_clear()


@pytest.fixture
def scans(photos):
    """Drawn flowers as TIFFs of 32-bit integers from 0 to 255, and one of float from 0 to 1."""
    folder = photos({"aster": 6, "rose": 6})
    for file in sorted(folder.rglob("*.jpg")):
        grey = np.asarray(Image.open(file).convert("L"))
        first = file.name == "0.jpg"
        file.with_suffix(".tif").write_bytes(tiff((grey / 255).astype("<f4") if first else grey.astype("<i4")))
        file.unlink()
    return folder

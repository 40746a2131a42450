"""Images and networks that tests explain."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowers_tl.inference.explanations import prepare_first
from flowers_tl.inference.predictor import Predictor
from flowers_tl.models.backbone import StagedNetwork

NAMES = ("rose", "oxeye daisy", "poppy", "lily", "tulip", "bee orchid", "aster", "iris")


def draw_images(folder: Path, shapes: Mapping[str, tuple[int, int]]) -> Path:
    """Draw an image of coarse colours for each name and its width and height; return the folder."""
    rng = np.random.default_rng(0)
    for name, (width, height) in shapes.items():
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def make(names: Sequence[str] = NAMES, seed: int = 0, size: int = 64, name: str = "the network") -> Predictor:
    """A ResNet18 with random weights for images of ``size`` pixels."""
    torch.manual_seed(seed)
    return Predictor(StagedNetwork("resnet18", len(names), size), names, "cpu", name)


def prepared(network: Predictor, folder: Path) -> dict:
    """All images of a folder, as the network takes them."""
    return prepare_first(network, sorted(folder.iterdir()), 12, pytest.fail)

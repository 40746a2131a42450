"""A changed copy of an image is laid over it, and another flower does not fit."""

import pytest
import torch
from PIL import Image, ImageEnhance

from flowers_tl.auditing.copies import SURE
from flowers_tl.auditing.registration import register
from tests.auditing.scanned import FLOWERS, reopened, scanned

CHANGES = {
    "recompressed": lambda image: reopened(image, 50),
    "halved": lambda image: image.resize((80, 80)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "cropped": lambda image: image.crop((16, 4, 160, 150)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near_and_other_flowers_are_not(tmp_path, change):
    scan = scanned(tmp_path, [*FLOWERS, *(reopened(CHANGES[change](flower)) for flower in FLOWERS)])
    places = torch.arange(6)
    assert register(scan.small, torch.stack([places, places + 6], 1)).min() >= SURE
    others = torch.combinations(places)
    assert register(scan.small, others).max() < SURE

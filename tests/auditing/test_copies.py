"""Copies of images are recognised after the changes that copies undergo, and other images of the same kind are none."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from PIL.ExifTags import Base
from torch.nn.functional import normalize

from flowers_tl.auditing.copies import SURE, find_copies, pairs_within
from flowers_tl.auditing.registration import register
from flowers_tl.auditing.scan import Scan, hash_pixels, scan_image
from flowers_tl.data.synthetic import Species, draw_flower

FLOWERS = [draw_flower(Species.from_number(k % 2), 160, np.random.default_rng(k)) for k in range(6)]
CHANGES = {
    "recompressed": lambda image: reopened(image, 50),
    "halved": lambda image: image.resize((80, 80)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "cropped": lambda image: image.crop((16, 4, 160, 150)),
}


def reopened(image, quality=90):
    """An image as a JPEG has it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def scanned(tmp_path, images):
    """What an audit knows of images."""
    rows = []
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
        rows.append(scan_image(tmp_path / f"{number}.png", None))
    return Scan(torch.tensor(np.stack([small for small, _ in rows])), [facts for _, facts in rows])


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near_and_other_flowers_are_not(tmp_path, change):
    scan = scanned(tmp_path, [*FLOWERS, *(reopened(CHANGES[change](flower)) for flower in FLOWERS)])
    places = torch.arange(6)
    assert register(scan.small, torch.stack([places, places + 6], 1)).min() >= SURE
    others = torch.combinations(places)
    assert register(scan.small, others).max() < SURE


def test_a_hash_of_pixels_knows_turned_and_mirrored_copies():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    assert len({hash_pixels(np.rot90(side, k)) for side in (pixels, pixels[:, ::-1]) for k in range(4)}) == 1
    other = pixels.copy()
    other[2, 3] += 1
    assert hash_pixels(other) != hash_pixels(pixels)
    # The rows' bytes alone do not say how long they are.
    assert hash_pixels(np.zeros((2, 6, 3), np.uint8)) != hash_pixels(np.zeros((3, 4, 3), np.uint8))


def test_all_pairs_of_a_group_are_named_with_what_they_are(tmp_path):
    flower = FLOWERS[0]
    scan = scanned(tmp_path, [flower, FLOWERS[1], flower.rotate(90), reopened(flower), FLOWERS[2]])
    # Features that find nothing: the hash alone does.
    features = normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    pairs, groups = find_copies(scan, features)
    assert [pair[:3] for pair in pairs] == [("exact", 0, 2), ("near", 0, 3), ("near", 2, 3)]
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups)) == 3


def test_blank_images_are_no_near_copies_of_one_another(tmp_path):
    scan = scanned(tmp_path, [Image.new("RGB", (40, 40), colour) for colour in ("white", "black", "white")])
    pairs, _ = find_copies(scan, normalize(torch.ones(3, 4)))
    assert [pair[:3] for pair in pairs] == [("exact", 0, 2)]


def test_a_large_group_is_not_paired_all_with_all():
    assert len([*pairs_within(np.zeros(10))]) == 45
    assert [*pairs_within(np.zeros(12))] == [(0, k) for k in range(1, 12)]


def shot(second, camera="A", fraction="0"):
    """EXIF as a camera writes it; without a camera as an editor leaves it."""
    exif = Image.Exif()
    if camera:
        exif[Base.Make], exif[Base.Model] = "Maker", camera
    more = exif.get_ifd(Base.ExifOffset)
    more[Base.DateTimeOriginal], more[Base.SubsecTimeOriginal] = f"2026:01:31 12:00:{second:02d}", fraction
    return exif


def test_photographs_of_one_camera_within_seconds_are_a_burst(tmp_path):
    shots = [shot(0), shot(2, fraction="5"), shot(0, "B"), shot(9), shot(0, None), None, shot(1)]
    rows = []
    for number, (exif, image) in enumerate(zip(shots, [*FLOWERS, FLOWERS[0]], strict=True)):
        image.save(tmp_path / f"{number}.jpg", exif=exif or Image.Exif(), quality=95 - number)
        rows.append(scan_image(tmp_path / f"{number}.jpg", None))
    scan = Scan(torch.tensor(np.stack([small for small, _ in rows])), [facts for _, facts in rows])
    pairs, groups = find_copies(scan, normalize(torch.randn(7, 8, generator=torch.Generator().manual_seed(0))))
    # The last is a copy of the first, which says more than that both are of one burst.
    assert [pair[:3] for pair in pairs] == [("near", 0, 6), ("burst", 0, 1), ("burst", 1, 6)]
    assert [pair[3] for pair in pairs[1:]] == [2.5, 1.5]
    assert groups[0] == groups[1] == groups[6]
    assert len(set(groups)) == 5

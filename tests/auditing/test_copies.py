"""Copies of images are recognised after the changes that copies undergo, and other images of the same kind are none."""

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base
from torch.nn.functional import normalize

from flowers_tl.auditing.copies import find_copies, pairs_within
from flowers_tl.auditing.scan import Scan, scan_image
from tests.auditing.scanned import FLOWERS, reopened, scanned


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

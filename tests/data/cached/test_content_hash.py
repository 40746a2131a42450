"""What is decoded is known by the bytes of its files and by what decodes them."""

import numpy as np
import PIL
import torch
import torchvision
from odd_images import tiff

from flowers_tl.data.cached import content_hash
from flowers_tl.data.cached.content_hash import describe_images
from flowers_tl.data.cached.decoded_images import open_images
from flowers_tl.data.cached.disk_cache import Cache


def test_old_keys_stay_and_wrongly_decoded_images_get_others(photos, scans, tmp_path):
    def old(files):
        known = describe_images(files, 37, None)
        versions = {"reading": 2, "pillow": PIL.__version__, "torchvision": torchvision.__version__}
        return {"contents": known["contents"], "pictures": len(files), "short_side": 37, **versions}

    right = sorted(photos({"a": 3, "b": 3}, "right").rglob("*.jpg"))
    right.append(tmp_path / "sixteen.tif")
    right[-1].write_bytes(tiff(np.full((40, 40), 30000, "<u2")))
    assert describe_images(right, 37, None) == describe_images(right, 37, None, (0, 255)) == old(right)
    wrong = sorted(scans.rglob("*.tif"))[:2]
    keys = [describe_images(wrong, 37, None, limits) for limits in (None, (0, 255), (0, 200))]
    assert len({str(key) for key in [old(wrong), *keys]}) == 4
    # What an earlier version has left: black images.
    cache = Cache(tmp_path / "cache")
    cache.get("pictures", "", old(wrong), "decode", lambda writer: [writer.write(torch.zeros(37, 37, 3).byte())] * 2)
    assert all(image.any() for image in open_images(cache, wrong, 37, "", value_range=(0, 255)).kept)


def test_files_of_two_mounts_are_not_taken_for_each_other(monkeypatch, tmp_path):
    """Images of discs that were made alike have files with the same numbers and times."""
    file, states = tmp_path / "a.jpg", []
    file.write_bytes(b"content")
    for mount in ((1, 7), (2, 7), (1, 8)):
        monkeypatch.setattr(content_hash, "file_system", lambda *_, mount=mount: mount)
        states.append(content_hash.file_state(file))
    assert len(set(states)) == 3

"""Batches that are cut out of decoded images."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from flowers_tl.data.cached.decoded_images import DecodedImages
from flowers_tl.data.image_crops import ImageCrops

PIXELS = [torch.randint(0, 256, (20 + k, 24, 3), dtype=torch.uint8) for k in range(5)]
FILES = [Path(str(k)) for k in range(5)]


def crops(kept=PIXELS, **options):
    return ImageCrops(DecodedImages(FILES, None, kept), range(5), 16, **options)


def test_a_batch_has_the_images_of_its_keys_with_channels_last_in_memory():
    images, labels = crops().__getitems__([3, 0])
    assert (images.shape, images.dtype, labels.tolist()) == ((2, 3, 16, 16), torch.uint8, [3, 0])
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images[1], PIXELS[0][2:18, 4:20].permute(2, 0, 1))
    image, label = crops()[3]
    assert torch.equal(image, images[0])
    assert label == 3


def test_images_on_the_device_already_are_not_copied():
    there = crops(seed=1)
    assert there.to(torch.device("cpu")).images is there.images


def test_what_pil_changes_stays_where_pil_reads_it(monkeypatch):
    monkeypatch.setattr(DecodedImages, "to", lambda *_: pytest.fail("It was moved."))
    changed = crops(seed=1, augment=lambda image: pil_to_tensor(image.resize((16, 16))))
    images, _ = changed.to(torch.device("cpu")).__getitems__([(0, 2)])
    assert torch.equal(images[0], pil_to_tensor(Image.fromarray(PIXELS[2].numpy()).resize((16, 16))))


def test_plain_indices_are_the_first_epoch():
    assert torch.equal(crops(seed=1).__getitems__([2])[0], crops(seed=1).__getitems__([(0, 2)])[0])
    assert not torch.equal(crops(seed=1).__getitems__([2])[0], crops(seed=1).__getitems__([(1, 2)])[0])

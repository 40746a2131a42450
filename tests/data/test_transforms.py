"""The article's transforms, against torchvision's first version of them, which the article uses."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1

from flowers_tl.data.transforms import IMAGENET_MEAN, IMAGENET_STD, augment, denormalise, eval_transform, normalise


@pytest.fixture(params=[(500, 700), (600, 300), (256, 256)])
def image(request):
    width, height = request.param
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def article(*middle):
    return v1.Compose(
        [v1.Resize(256), *middle, v1.ToTensor(), v1.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )


def test_evaluation_is_the_articles(image):
    torch.testing.assert_close(eval_transform()(image), article(v1.CenterCrop(224))(image), rtol=0, atol=1e-6)


def test_training_is_a_crop_of_the_articles_image_and_sometimes_its_mirror(image):
    whole = article()(image)
    places, mirrored = set(), 0
    for seed in range(12):
        torch.manual_seed(seed)
        crop = normalise(augment(224, "crop")(image))
        assert crop.shape == (3, 224, 224)
        assert crop.dtype == torch.float32
        found = find(whole, crop)
        flipped = find(whole, crop.flip(-1))
        assert (found is None) != (flipped is None)
        mirrored += found is None
        places.add(found or flipped)
    assert 0 < mirrored < 12
    assert len(places) > 6


def find(whole: torch.Tensor, crop: torch.Tensor) -> tuple[int, int] | None:
    """Where in the whole image the crop is, if it is there."""
    candidates = (whole[0, : whole.shape[1] - 223, : whole.shape[2] - 223] - crop[0, 0, 0]).abs() < 1e-6
    for y, x in candidates.nonzero().tolist():
        if torch.allclose(whole[:, y : y + 224, x : x + 224], crop, atol=1e-6):
            return y, x
    return None


def test_small_images_keep_the_proportion_of_resize_to_crop(image):
    assert eval_transform(64)(image).shape == (3, 64, 64)
    small = v1.Compose([v1.Resize(73), v1.CenterCrop(64), v1.ToTensor(), v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(eval_transform(64)(image), small(image), rtol=0, atol=1e-6)


def test_denormalise_is_the_way_back(image):
    plain = v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor()])(image)
    torch.testing.assert_close(denormalise(eval_transform()(image)[None])[0], plain, rtol=0, atol=1e-6)

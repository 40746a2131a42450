"""The article's transforms, against torchvision's first version of them, which the article uses."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from flowers_tl.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    augment,
    denormalise,
    eval_transform,
    normalise,
    random_crop,
)


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


def gradient(width, height):
    """An image whose red grows from left to right, and whose green from top to bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(pixels)


def test_padding_shows_the_whole_image_in_its_shape_on_the_mean_colour():
    how = Preprocessing(fit="pad", mean=[0.5, 0.25, 1.0])
    square = np.asarray(how.resized(gradient(200, 100), how.side(64)))
    assert square.shape == (64, 64, 3)
    assert (square[:16] == [128, 64, 255]).all()
    assert (square[48:] == [128, 64, 255]).all()
    assert np.array_equal(square[16:48], np.asarray(gradient(200, 100).resize((64, 32), Image.Resampling.BILINEAR)))


def test_squashing_shows_the_whole_image_in_another_shape():
    how = Preprocessing(fit="squash", interpolation="bicubic")
    square = how.resized(gradient(200, 100), how.side(64))
    assert np.array_equal(np.asarray(square), np.asarray(gradient(200, 100).resize((64, 64), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("augmentation", ["crop", "random_resized_crop", "trivial_augment"])
@pytest.mark.parametrize(("flip", "axes"), [("none", set()), ("horizontal", {1}), ("both", {0, 1})])
def test_images_are_flipped_along_the_axes_of_the_config_alone(augmentation, flip, axes):
    # Light on the left and above, whatever part is shown.
    image, turned = gradient(48, 48).transpose(Image.Transpose.ROTATE_180), set()
    crop = augment(32, augmentation, flip=flip)
    if augmentation == "trivial_augment":
        # Its own changes are not the flips.
        crop = v2.Compose([step for step in crop.transforms if not isinstance(step, v2.TrivialAugmentWide)])
    for seed in range(24):
        torch.manual_seed(seed)
        red, green, _ = crop(image).int()
        turned |= {1} if red[0, 0] < red[0, -1] else set()
        turned |= {0} if green[0, 0] < green[-1, 0] else set()
        window = random_crop(torch.from_numpy(np.array(image)), 32, torch.Generator().manual_seed(seed), flip).int()
        turned |= {1} if window[0, 0, 0] < window[0, -1, 0] else set()
        turned |= {0} if window[0, 0, 1] < window[-1, 0, 1] else set()
    assert turned == axes


def test_a_network_of_another_mean_gets_and_gives_back_its_colours(image):
    how = Preprocessing(mean=[0.5, 0.5, 0.5], std=[0.25, 0.5, 1.0])
    prepared, plain = eval_transform(64, how)(image), denormalise(eval_transform(64)(image)[None])[0]
    torch.testing.assert_close(prepared[0], (plain[0] - 0.5) / 0.25, rtol=0, atol=1e-5)
    torch.testing.assert_close(denormalise(prepared[None], how.mean, how.std)[0], plain, rtol=0, atol=1e-5)

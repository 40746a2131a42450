"""Images are prepared as the weights expect it, and a config that leaves it to them says so in values."""

import pytest
import torch
from PIL import Image
from torchvision.models import get_model_weights

from flowers_tl.config.backbones import FIRST
from flowers_tl.config.keys import ARTICLE
from flowers_tl.data.transforms import Preprocessing, eval_transform
from flowers_tl.models.preprocessing import find_preprocessing, with_preprocessing
from flowers_tl.utils.errors import UserError

ENTRIES = [(name, weights) for name in FIRST for weights in get_model_weights(name).__members__]


@pytest.mark.parametrize(("backbone", "weights"), ENTRIES)
def test_images_are_prepared_as_torchvision_does_for_its_weights(backbone, weights):
    entry = get_model_weights(backbone)[weights]
    pixels = torch.randint(256, (500, 650, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    image = Image.fromarray(pixels.numpy()).resize((650, 500), Image.Resampling.BOX)
    how = Preprocessing(**find_preprocessing(backbone, weights))
    torch.testing.assert_close(eval_transform(how.crop, how)(image), entry.transforms()(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_the_first_weights_of_the_articles_networks_are_prepared_as_in_the_article(config, backbone):
    made = with_preprocessing(config([f"backbone={backbone}"]))
    assert made["backbone"]["preprocessing"] == ARTICLE
    assert made["data"]["image_size"] == 224


@pytest.mark.parametrize(
    ("words", "expected", "size"),
    [
        (["backbone=efficientnet_b0"], {"resize": 256, "interpolation": "bicubic"}, 224),
        (["backbone=resnet50", "backbone.weights=IMAGENET1K_V2"], {"resize": 232}, 224),
        (["backbone=vit_b_16", "backbone.weights=IMAGENET1K_SWAG_E2E_V1"], {"resize": 384, "crop": 384}, 384),
        # Of a file, of random weights, and of a strategy that begins from random ones: the first weights'.
        (["backbone=convnext_tiny", "backbone.weights=mine.pth"], {"resize": 236}, 224),
        (["backbone=convnext_tiny", "backbone.weights=null"], {"resize": 236}, 224),
        (["backbone=resnet50", "backbone.weights=IMAGENET1K_V2", "strategy=from_scratch"], {"resize": 256}, 224),
        # What the user says comes first.
        (
            ["backbone=resnet50", "backbone.weights=mine.pth", "backbone.preprocessing=IMAGENET1K_V2"],
            {"resize": 232},
            224,
        ),
        (
            ["backbone.preprocessing={resize:300,interpolation:bicubic}"],
            {"resize": 300, "interpolation": "bicubic"},
            224,
        ),
        (["backbone.preprocessing={crop:64,resize:64}"], {"resize": 64, "crop": 64}, 64),
        (["backbone=vit_b_16", "data.image_size=96"], {"resize": 256}, 96),
    ],
)
def test_the_values_are_those_of_the_weights_unless_the_config_says_others(config, words, expected, size):
    made = with_preprocessing(config(words))
    assert made["backbone"]["preprocessing"].items() >= expected.items()
    assert made["data"]["image_size"] == size
    # A record's config is as it is.
    assert with_preprocessing(made) == made


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "IMAGENET1K_V3",
            r"backbone\.preprocessing=IMAGENET1K_V3 is no weights name of resnet18: did you mean 'IMAGENET1K_V1'",
        ),
        ("{size:3}", r"There is no key 'backbone\.preprocessing\.size': .*Known: resize, crop"),
        ("{mean:[0.5]}", r"backbone\.preprocessing\.mean=\[0\.5\] must be three numbers"),
        ("{std:[0,1,1]}", r"backbone\.preprocessing\.std\.0=0 must be above 0|std\.0=0 must lie"),
        ("{interpolation:cubic}", r"backbone\.preprocessing\.interpolation=cubic is unknown: did you mean 'bicubic'"),
        ("{resize:100}", r"backbone\.preprocessing\.resize=100 must be at least crop=224"),
        ("{resize:[1,2]}", r"backbone\.preprocessing\.resize=\[1, 2\] must be one value"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(config, value, sentence):
    with pytest.raises(UserError, match=sentence):
        with_preprocessing(config([f"backbone.preprocessing={value}"]))

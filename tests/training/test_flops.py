"""FLOPs are those of the layers that an epoch trains, and are counted without computing."""

import pytest

from flowers_tl.training.flops import count_flops

# Published for ResNet18 at 224 pixels: 1.8 billion multiplications and additions.
RESNET18 = 2 * 1.814e9


@pytest.fixture
def flops(config):
    """Count the FLOPs of a strategy over so many images."""
    return lambda *words, epochs=1, images=1: count_flops(
        config(["data=synthetic", "data.image_size=224", *words]), 102, epochs, images
    )


def test_forward_is_what_is_published(flops):
    assert flops()["forward"] == pytest.approx(RESNET18, rel=0.01)


def test_a_frozen_stage_has_no_backward_pass(flops):
    head, tail, whole = (
        flops(f"strategy={name}") for name in ("feature_extraction", "fine_tuning", "full_fine_tuning")
    )
    # The head: a product of 512 by 102 each for its weights, none for what enters it.
    assert head["training"] == head["forward"] + 2 * 512 * 102
    assert head["training"] < tail["training"] < whole["training"]
    # All layers: forward once, and backward twice that, but for the first layer's input.
    assert whole["training"] == pytest.approx(3 * RESNET18, rel=0.1)


def test_epochs_and_images_add_up_and_late_stages_count_from_their_epoch_on(flops):
    one = flops("strategy=fine_tuning")["training"]
    assert flops("strategy=fine_tuning", epochs=3, images=5)["training"] == 15 * one
    words = ["strategy=fine_tuning", "strategy.table.0.from_epoch=2"]
    frozen = flops("strategy=feature_extraction")["training"]
    assert flops(*words, epochs=3)["training"] == 2 * frozen + one


def test_a_head_that_is_solved_takes_each_image_and_its_mirror_image_forward(flops):
    solved = flops("strategy=linear_probe", epochs=0, images=10)
    assert solved["training"] == 20 * solved["forward"]

"""A config that can't be right ends in one sentence before anything is written."""

import re

import pytest

from flowers_tl.training.run_once import train_once
from flowers_tl.training.validate import note_without_effect, validate_config, validate_last_batch
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log_note


@pytest.mark.parametrize("choice", ["label_smoothing", "mixup", "cutmix", "ema", "early_stopping"])
def test_regularisation_is_refused_where_nothing_is_trained_by_steps(config, tiny, choice):
    with pytest.raises(UserError, match=rf"regularisation\.{choice}=\S+ has no effect with strategy=linear_probe"):
        validate_config(config(tiny(strategy="linear_probe", regularisation=choice)))
    validate_config(config(tiny(strategy="lp_ft", regularisation=choice)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"data__balance": "weights"}, "data.balance=weights has no effect with strategy.head=neighbours"),
        ({"data__balance": "sampler"}, "data.balance=sampler has no effect with strategy.head=neighbours"),
        ({"data__protocol": "trainval"}, "strategy.head=neighbours selects by the val images"),
        ({"regularisation": "label_smoothing"}, "has no effect with strategy=knn"),
        ({"heads__weight_decay": "[0.1]"}, "but knn does not: choose feature_extraction or linear_probe"),
        ({"compute__gradient_checkpointing": "true"}, "would save no memory with strategy=knn"),
        ({"strategy.neighbours": "[0]"}, "strategy.neighbours.0=0 must be at least 1"),
        ({"strategy.neighbours": "[5,13]"}, "strategy.neighbours=13 is more than the 12 training images"),
    ],
)
def test_what_nearest_neighbours_can_not_do_is_refused_before_an_image_is_read(config, tiny, tmp_path, words, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        train_once(config(tiny(strategy="knn", **words)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_statistics_of_all_gpus_are_refused_without_a_gpu(config, tiny):
    with pytest.raises(UserError, match="sync_batchnorm=true works only on GPUs"):
        validate_config(config(tiny(trainer__sync_batchnorm="true")))


@pytest.mark.parametrize(("backbone", "size"), [("vit_b_16", 225), ("convnext_tiny", 31), ("squeezenet1_1", 16)])
def test_an_image_size_that_a_network_can_not_take_is_refused_before_anything_is_read(
    config, tiny, tmp_path, backbone, size
):
    words = tiny(backbone=backbone, data__image_size=size, data__root=tmp_path / "data")
    with pytest.raises(UserError, match=rf"data\.image_size={size} does not fit {backbone} \(.*\): use 224"):
        train_once(config(words), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ({"data.batch_size": 11}, True),
        ({"data.batch_size": 1}, True),
        ({"data.batch_size": 22, "trainer.devices": 2}, False),
        ({"data.batch_size": 11, "trainer.limit_train_batches": 1}, False),
        ({"data.batch_size": 11, "backbone": "squeezenet1_1"}, False),
        ({"data.batch_size": 11, "data.image_size": 64}, False),
        ({"data.batch_size": 11, "strategy": "feature_extraction"}, False),
        ({"data.batch_size": 11, "strategy": "gradual_unfreezing", "trainer.max_epochs": 9}, True),
    ],
)
def test_a_last_batch_of_one_image_is_refused_where_batchnorm_could_not_learn(config, tiny, tmp_path, words, refused):
    keys = config(tiny(**{"strategy": "full_fine_tuning"} | words))
    network = validate_config(keys)
    if not refused:
        return validate_last_batch(keys, network, 12)
    with pytest.raises(UserError, match=r"The last of 12 images is alone in its batch .* use another data.batch"):
        train_once(keys, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_an_average_in_half_precision_is_refused(config, tiny, precision):
    keys = tiny(strategy="full_fine_tuning", trainer__precision=precision)
    validate_config(config(keys))
    with pytest.raises(UserError, match=r"rounds away the small steps of regularisation\.ema"):
        validate_config(config([*keys, "regularisation=ema"]))


def test_what_a_run_without_steps_ignores_is_told(config, tiny, capsys):
    log_note.cache_clear()
    given = ("strategy", "optimizer", "trainer.max_epochs", "data.root", "trainer.accelerator", "data.flip")
    for strategy in ("lp_ft", "feature_extraction", "linear_probe", "knn"):
        note_without_effect(validate_config(config(tiny(strategy=strategy))), given)
    assert capsys.readouterr().err == (
        "Note: strategy=linear_probe takes no training steps, so these have no effect: optimizer, trainer.max_epochs.\n"
        "Note: strategy=knn takes no training steps, so these have no effect: optimizer, trainer.max_epochs, data.flip.\n"
    )

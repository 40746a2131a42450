"""Which heads a config names, and what many heads can't do."""

import pytest

from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


@pytest.fixture
def small(config, tiny):
    """A function of overrides that returns a small run's config."""
    return lambda **more: config(tiny(**more))


def test_rates_that_are_nearly_alike_have_names_of_their_own(small, tmp_path):
    found = train(small(**{"heads.lr": "[0.001,0.0010000001,1e-5]", "heads.weight_decay": "[0]"}), tmp_path / "heads")
    assert found["heads"] == [f"lr={lr},weight_decay=0,seed=0" for lr in ("0.001", "0.0010000001", "1e-05")]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"strategy": "fine_tuning"}, "fine_tuning does not"),
        ({"strategy": "lp_ft"}, "lp_ft does not"),
        ({"strategy.frozen_batchnorm": "train"}, "feature_extraction does not"),
        ({"strategy": "linear_probe"}, "leave out heads.lr and heads.seeds"),
        ({"cache.enabled": "false"}, "cache.enabled=true"),
        ({"cache.views": "null"}, "cache.views to a number"),
        ({"regularisation": "mixup"}, "regularisation.mixup=0.2 does not work with many heads"),
        ({"trainer.accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2 does not work with many heads"),
        ({"trainer.limit_val_batches": 1}, "trainer.limit_val_batches=1 does not work with many heads"),
        ({"trainer.limit_val_batches": 0}, "trainer.limit_val_batches=0 does not work with many heads"),
        ({"trainer.devices": 2}, "trainer.devices=2 does not work with many heads"),
        ({"test_best": "true"}, "test_best=True does not work with many heads"),
        ({"heads.lr": "[0.1,0.0]"}, "heads.lr.1=0.0 must be above 0"),
        ({"heads.lr": "[]"}, "must be a list of different values"),
        ({"heads.lr": "[0.1,0.1]"}, "must be a list of different values"),
        ({"heads.weight_decay": "[-1.0]"}, "heads.weight_decay.0=-1.0 must be at least 0"),
        ({"heads.seeds": 0}, "must be at least 1"),
        ({"trainer.max_epochs": 0}, "trainer.max_epochs=0 must be at least 1"),
        ({"heads.seeds": 2}, "random backbones differ"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(small, tmp_path, more, sentence):
    with pytest.raises(UserError, match=r"^[^\n]*$") as refusal:
        train(small(**{"heads.lr": "[0.1,0.2]"} | more), tmp_path / "run")
    assert sentence in str(refusal.value)
    assert not (tmp_path / "run").exists()

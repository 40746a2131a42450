"""The parts of a run follow from its config."""

import pytest
import torch

from flowers_tl.models.strategy import ParameterGroup
from flowers_tl.training.factory import (
    has_validation,
    initial_model,
    make_cache,
    make_model,
    set_up_data,
    validate_start_epochs,
)
from flowers_tl.utils.errors import UserError

SMALL = {"backbone": "squeezenet1_1"}


@pytest.fixture
def small(config, tiny):
    """A function of overrides that returns a small run's config."""
    return lambda **more: config(tiny(**SMALL | more))


def test_a_cache_is_the_configs_or_none(small, tmp_path):
    assert make_cache(small(**{"cache.enabled": "false"})) is None
    cache = make_cache(small(**{"cache.dir": tmp_path / "mine", "cache.max_gb": 2}))
    assert (cache.folder, cache.max_bytes, cache.progress) == (tmp_path / "mine", 2e9, False)


def test_the_first_weights_follow_from_the_seed_alone(small):
    data = set_up_data(small())
    first = initial_model(small(), data).state_dict()
    torch.rand(3)
    again = initial_model(small(), data).state_dict()
    other = initial_model(small(seed=1), data).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not all(torch.equal(value, other[key]) for key, value in first.items())


def test_a_stage_that_would_begin_after_the_run_is_refused_but_for_one_batch(small):
    late = {"strategy": "gradual_unfreezing", "trainer.max_epochs": 2}
    with torch.device("meta"):
        with pytest.raises(UserError, match="gradual_unfreezing"):
            make_model(small(**late), num_classes=3)
        make_model(small(**late, **{"trainer.fast_dev_run": "true"}), num_classes=3)


@pytest.mark.parametrize(("protocol", "measured"), [("official", True), ("trainval", False)])
def test_val_that_is_trained_on_is_not_measured(small, protocol, measured):
    assert has_validation(small(**{"data.protocol": protocol})) == measured
    assert len(set_up_data(small(**{"data.protocol": protocol})).images["train"]) == (12 if measured else 18)


def test_unsplit_data_are_all_in_the_splits_that_they_have(config, photos):
    words = ["data=folder", f"data.root={photos({'rose': 8, 'aster': 8})}", "backbone=squeezenet1_1"]
    assert set_up_data(config(words), unsplit=True).sizes == {"train": 16, "val": 0, "test": 0}
    assert set_up_data(config(words)).sizes == {"train": 12, "val": 2, "test": 2}


def test_a_row_that_begins_after_the_run_is_refused_with_what_would_be_right():
    head, stem = (ParameterGroup(name, (name,), (), 1e-3, epoch, None) for name, epoch in (("head", 0), ("stem", 6)))
    validate_start_epochs("mine", [head, stem], 7)
    with pytest.raises(
        UserError, match=r"trains stem from epoch 6 on .* has 6 epochs: set trainer.max_epochs to 7 or more"
    ):
        validate_start_epochs("mine", [head, stem], 6)

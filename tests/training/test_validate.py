"""A config that can't be right ends in one sentence before anything is written."""

import pytest

from flowers_tl.training.validate import validate_config
from flowers_tl.utils.errors import UserError


@pytest.mark.parametrize("choice", ["label_smoothing", "mixup", "cutmix", "ema", "early_stopping"])
def test_regularisation_is_refused_where_nothing_is_trained_by_steps(config, tiny, choice):
    with pytest.raises(UserError, match=rf"regularisation\.{choice}=\S+ means nothing to strategy=linear_probe"):
        validate_config(config(tiny(strategy="linear_probe", regularisation=choice)))
    validate_config(config(tiny(strategy="lp_ft", regularisation=choice)))


def test_statistics_of_all_gpus_are_refused_without_a_gpu(config, tiny):
    with pytest.raises(UserError, match="sync_batchnorm=true works on GPUs alone"):
        validate_config(config(tiny(trainer__sync_batchnorm="true")))

"""A config that is composed is plain Python with every key, or one sentence says why it can't be."""

import pytest
import yaml

from flowers_tl.config.compose import compose_config, hydra_initialized
from flowers_tl.utils.errors import UserError


def test_a_config_is_plain_and_whole(config):
    composed = compose_config(["strategy=fine_tuning", "seed=3"])
    assert yaml.safe_load(yaml.safe_dump(composed)) == composed
    assert composed == config(["strategy=fine_tuning", "seed=3"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("strategy=fine_tunning", "There is no strategy 'fine_tunning': did you mean 'fine_tuning'"),
        ("trainer.max_epoch=3", "There is no key 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
        ("+trainer.max_epoch=3", "There is no key 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
        ("seed=-1", "seed=-1 must be at least 0"),
        ("data.root=''", "data.root= is empty"),
        ("~strategy", "~strategy leaves strategy without a value: give it one, as in strategy=fine_tuning"),
        ("~seed=0", "~seed=0 leaves seed without a value"),
        ("strategy={}", "strategy={} leaves strategy without a value"),
        ("optimizer={ }", "optimizer={ } leaves optimizer without a value"),
    ],
)
def test_what_can_not_be_composed_is_one_sentence(override, sentence):
    with pytest.raises(UserError, match=r"^[^\n]*$") as refusal:
        compose_config([override])
    assert str(refusal.value).startswith(sentence)


def test_a_config_is_composed_where_hydra_runs_already():
    with hydra_initialized():
        assert compose_config(["seed=1"])["seed"] == 1
    assert compose_config(["seed=2"])["seed"] == 2

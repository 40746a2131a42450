"""Each data set has the keys that mean something to it, and no others."""

import pytest

from flowers_tl.config.compose import compose_config
from flowers_tl.utils.errors import UserError


@pytest.mark.parametrize(
    ("data", "has", "lacks"),
    [
        ("flowers", "per_class", "val_fraction"),
        ("food101", "val_fraction", "test_fraction"),
        ("folder", "strict", "partition"),
        ("synthetic", "first_species", "strict"),
        ("dtd", "partition", "split_seed"),
    ],
)
def test_a_data_set_has_its_own_keys_and_refuses_those_of_others(data, has, lacks):
    keys = compose_config([f"data={data}"])["data"]
    assert has in keys
    assert lacks not in keys
    with pytest.raises(UserError, match=rf"There is no key 'data\.{lacks}'"):
        compose_config([f"data={data}", f"data.{lacks}=1"])

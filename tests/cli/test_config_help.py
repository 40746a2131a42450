"""The help of train has every choice and every key, with its default and meaning."""

from flowers_tl.cli.config_help import list_choices
from flowers_tl.config.backbones import NETWORKS
from flowers_tl.config.schema import CONF
from flowers_tl.data.torchvision_sets import TABLE

FILES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
CHOICES = [*FILES, *(("data", name) for name in TABLE), *(("backbone", name) for name in NETWORKS)]


def test_the_help_lists_every_choice():
    assert {(group, name) for group, names in list_choices().items() for name in names} == set(CHOICES)

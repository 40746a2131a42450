"""Everything in conf/ composes, fits every network, and has a meaning that is written down."""

import inspect
import itertools
import re

import lightning as L
import pytest
import torch

from flowers_tl import config as schema
from flowers_tl.config import CONF
from flowers_tl.model.backbone import ARCHITECTURES
from flowers_tl.model.classifier import TransferClassifier


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


FILES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]


@pytest.mark.parametrize(("group", "choice"), FILES)
def test_every_yaml_composes(config, group, choice):
    composed = config([f"{group}={choice}"])
    if group != "experiment":
        assert composed[group]["name"] == choice


def test_a_backbone_file_for_every_architecture():
    assert choices("backbone") == sorted(ARCHITECTURES)


@pytest.mark.parametrize(("strategy", "backbone"), list(itertools.product(choices("strategy"), ARCHITECTURES)))
def test_every_strategy_fits_every_backbone(config, strategy, backbone):
    with torch.device("meta"):
        model = TransferClassifier(backbone, 5, config([f"strategy={strategy}"])["strategy"])
    assert "head" in model.learning
    assert model.configure_optimizers().param_groups


def test_defaults_are_the_articles(config):
    composed = config([])
    assert composed["strategy"]["name"] == "feature_extraction"
    assert composed["backbone"] == {"name": "resnet18", "weights": "IMAGENET1K_V1"}
    assert composed["data"]["batch_size"] == 32
    assert composed["data"]["image_size"] == 224
    assert composed["trainer"]["max_epochs"] == 15
    assert composed["seed"] == 0
    assert config(["strategy=fine_tuning"])["strategy"]["table"] == [
        {"stage": -1, "lr": 1e-4},
        {"stage": "head", "lr": 1e-3},
    ]


def test_a_row_can_be_overridden_from_the_command_line(config):
    table = config(["strategy=fine_tuning", "strategy.table.1.lr=0.01"])["strategy"]["table"]
    assert [row["lr"] for row in table] == [1e-4, 0.01]


def test_the_article_leaves_batchnorm_as_a_notebook_does(config):
    composed = config(["experiment=article", "strategy=fine_tuning"])
    assert composed["strategy"]["frozen_batchnorm"] == "train"
    assert composed["backbone"]["name"] == "resnet18"


def test_trainer_keys_are_lightnings(config):
    assert set(config([])["trainer"]) <= set(inspect.signature(L.Trainer).parameters)


@pytest.mark.parametrize("name", ["RowConfig", "StrategyConfig", "BackboneConfig", "DataConfig", "TrainConfig"])
def test_every_key_says_what_it_means(name):
    source = inspect.getsource(getattr(schema, name))
    for key in re.findall(r"^    (\w+):", source, re.MULTILINE):
        assert re.search(rf"^    {key}: .*\n    \"\"\"", source, re.MULTILINE), f"{name}.{key} has no docstring"

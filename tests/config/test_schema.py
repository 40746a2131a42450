"""Everything in conf/ composes, fits every network, and has a meaning that is written down."""

import inspect
import re

import lightning as L
import pytest

from flowers_tl.config import data_schema as data_config
from flowers_tl.config import schema
from flowers_tl.config.backbones import FIRST
from flowers_tl.config.keys import ARTICLE
from flowers_tl.config.schema import CONF
from flowers_tl.data.torchvision_sets import TABLE
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import find_conf, new_folder


def test_the_packages_own_conf_is_taken_and_no_other_that_lies_beside_it(tmp_path):
    package = tmp_path / "flowers_tl"
    (package).mkdir()
    (tmp_path / "conf").mkdir()
    with pytest.raises(UserError, match="lacks its folder conf"):
        find_conf(package)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\n')
    with pytest.raises(UserError, match="lacks its folder conf"):
        find_conf(package)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "flowers_tl"\n')
    assert find_conf(package) == tmp_path / "conf"
    (package / "conf").mkdir()
    assert find_conf(package) == package / "conf"


FILES = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
CHOICES = [*FILES, *(("data", name) for name in TABLE), *(("backbone", name) for name in FIRST)]


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes(config, group, choice):
    composed = config([f"{group}={choice}"])
    if group not in ("experiment", "sweep"):
        assert composed[group]["name"] == choice


def test_a_users_own_backbone_is_a_choice_beside_the_tables(config, tmp_path):
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "mine.yaml").write_text("name: resnet34\nweights: mine.pth\n")
    own = [f"hydra.searchpath=[{tmp_path}]"]
    assert config([*own, "backbone=mine"])["backbone"] == {
        "name": "resnet34",
        "weights": "mine.pth",
        "preprocessing": None,
    }
    resnet50 = {"name": "resnet50", "weights": "IMAGENET1K_V1", "preprocessing": None}
    assert config([*own, "backbone=resnet50"])["backbone"] == resnet50


def test_defaults_are_the_articles(config):
    composed = with_preprocessing(config([]))
    assert composed["strategy"]["name"] == "feature_extraction"
    assert composed["backbone"] == {"name": "resnet18", "weights": "IMAGENET1K_V1", "preprocessing": ARTICLE}
    assert composed["data"]["batch_size"] == 32
    assert composed["data"]["image_size"] == 224
    assert composed["trainer"]["max_epochs"] == 15
    assert composed["seed"] == 0
    table = config(["strategy=fine_tuning"])["strategy"]["table"]
    assert [(row["stage"], row["lr"]) for row in table] == [(-1, 1e-4), ("head", 1e-3)]
    rest = {"from_epoch": 0, "every": None, "weight_decay": None, "only": None}
    assert all(row.items() >= rest.items() for row in table)
    assert composed["optimizer"]["name"] == "adam"
    assert composed["optimizer"]["weight_decay"] == 0
    assert composed["scheduler"]["name"] == "constant"
    assert composed["data"]["augmentation"] == "crop"
    off = {key: value for key, value in composed["regularisation"].items() if key != "name"}
    assert not any(off.values())
    assert composed["trainer"]["gradient_clip_val"] is None


def test_the_article_leaves_batchnorm_as_a_notebook_does(config):
    composed = config(["experiment=article", "strategy=fine_tuning"])
    assert composed["strategy"]["frozen_batchnorm"] == "train"
    assert composed["backbone"]["name"] == "resnet18"


def test_trainer_keys_are_lightnings(config):
    assert set(config([])["trainer"]) <= set(inspect.signature(L.Trainer).parameters)


SCHEMAS = {name: found for name, found in (vars(schema) | vars(data_config)).items() if name.endswith("Config")}


@pytest.mark.parametrize("name", sorted(set(SCHEMAS) - {"TrainerConfig", "SyntheticConfig"}))
def test_every_key_says_what_it_means(name):
    source = inspect.getsource(SCHEMAS[name])
    for key in re.findall(r"^    (\w+):", source, re.MULTILINE):
        assert re.search(rf"^    {key}: .*\n    \"\"\"", source, re.MULTILINE), f"{name}.{key} has no docstring"


def test_the_folder_of_all_runs_is_that_of_the_environment(config, tiny, monkeypatch, tmp_path):
    assert config(tiny())["runs"] == "outputs"
    monkeypatch.setenv("FLOWERS_TL_RUNS", str(tmp_path / "mine"))
    assert config(tiny())["runs"] == str(tmp_path / "mine")
    assert config(tiny(runs="named"))["runs"] == "named"
    assert new_folder("evaluation").parent == tmp_path / "mine"

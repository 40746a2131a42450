"""Any name behind ``backbone=timm/`` is a choice, wherever a config is composed; timm itself is not needed for that."""

import subprocess
import sys

import pytest

from flowers_tl.config.compose import compose_config
from flowers_tl.utils.errors import UserError


def chosen(config):
    return config["backbone"]["name"], config["backbone"]["weights"]


def test_a_name_with_its_tag_is_a_network_with_its_weights():
    name = "timm/vit_small_patch14_dinov2.lvd142m"
    assert chosen(compose_config([f"backbone={name}"])) == (name, "lvd142m")
    assert chosen(compose_config(["backbone=timm/resnet18"])) == ("timm/resnet18", "DEFAULT")
    assert chosen(compose_config([f"backbone={name}", "backbone.weights=null"])) == (name, None)


def test_a_search_over_networks_composes_each_also_with_a_folder_of_the_user(tmp_path):
    pytest.importorskip("optuna", reason="needs pip install '.[search]' in a checkout of the project")
    from flowers_tl.tuning.search_space import read_space

    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "mine.yaml").write_text("name: timm/vit_tiny_patch16_224\nweights: mine.pth\n")
    space = read_space(["backbone=resnet18,timm/resnet18.a1_in1k,mine"], str(tmp_path))
    assert [chosen(config) for config in space.configs()] == [
        ("resnet18", "IMAGENET1K_V1"), ("timm/resnet18.a1_in1k", "a1_in1k"), ("timm/vit_tiny_patch16_224", "mine.pth")
    ]  # fmt: skip


def test_other_names_are_refused_as_before():
    for name in ("resnet81", "timm/"):
        with pytest.raises(
            UserError, match=f"There is no backbone '{name}'.*backbone=timm/NAME is any network of timm"
        ):
            compose_config([f"backbone={name}"])


def test_hydra_finds_it_without_importing_timm():
    code = "import sys; from flowers_tl.config.compose import compose_config as c; c(['backbone=timm/x']); print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

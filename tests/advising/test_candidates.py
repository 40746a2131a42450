"""Which strategies on which networks are in a race, and which are left out."""

import shutil

import pytest
import torch

from flowers_tl.advising.candidates import STRATEGIES, list_backbones, list_candidates
from flowers_tl.config.schema import CONF
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError

DATA = ["data=synthetic", "trainer.max_epochs=3"]


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (None, [[]]),
        ("resnet18", [["backbone=resnet18"]]),
        ("resnet18,mobilenet_v2", [["backbone=resnet18"], ["backbone=mobilenet_v2"]]),
        ("timm/vit_small_patch14_dinov2", [["backbone=timm/vit_small_patch14_dinov2"]]),
        (
            "[{name: resnet18, weights: '/a b/w.pth'}, mobilenet_v2]",
            [["backbone=resnet18", "backbone.weights='/a b/w.pth'"], ["backbone=mobilenet_v2"]],
        ),
    ],
)
def test_backbones_are_named_in_three_ways(text, overrides):
    assert list_backbones(text) == overrides


@pytest.mark.parametrize("text", ["[{weights: w.pth}]", "[", "[resnet18, 3]"])
def test_what_names_no_backbone_is_refused_with_the_three_ways(text):
    with pytest.raises(UserError, match="A,B"):
        list_backbones(text)


def test_each_strategy_on_each_backbone_is_a_candidate_with_the_keys_of_all_runs():
    backbones = list_backbones("[{name: resnet18, weights: null}, {name: squeezenet1_1, weights: null}]")
    candidates, left_out = list_candidates(["linear_probe", "from_scratch"], backbones, DATA)
    assert [one.name for one in candidates] == [
        "linear_probe resnet18", "from_scratch resnet18", "linear_probe squeezenet1_1", "from_scratch squeezenet1_1",
    ]  # fmt: skip
    assert {one.config["trainer"]["max_epochs"] for one in candidates} == {3}
    assert left_out == []


def test_a_strategy_that_does_not_fit_is_left_out_and_told():
    candidates, left_out = list_candidates(["fine_tuning", "gradual_unfreezing"], [["backbone.weights=null"]], DATA)
    assert [one.name for one in candidates] == ["fine_tuning"]
    assert len(left_out) == 1
    assert left_out[0].startswith("gradual_unfreezing is left out: ")
    with pytest.raises(UserError, match=r"No strategy can be tried\. gradual_unfreezing"):
        list_candidates(["gradual_unfreezing"], [[]], DATA)


@pytest.mark.parametrize(
    "override", ["heads={lr: [1e-3], seeds: 2}", "test_best=true", "data.protocol=trainval", "trainer.limit_val_batches=3",
                 "trainer.limit_test_batches=0", "cache.enabled=false", "ckpt_path=last"],
)  # fmt: skip
def test_settings_that_a_race_chooses_itself_are_refused(override):
    with pytest.raises(UserError, match=f"{override.split('=')[0]}.* can't be set here"):
        list_candidates(["fine_tuning"], [[]], [*DATA, override])


def test_all_strategies_of_the_sweep_are_tried():
    for name in STRATEGIES:
        assert (CONF / "strategy" / f"{name}.yaml").is_file()
    assert len(STRATEGIES) == 8


def test_a_users_own_strategy_takes_part_and_the_commands_words_name_its_folder(tmp_path):
    folder = tmp_path / "my own"
    (folder / "strategy").mkdir(parents=True)
    text = (CONF / "strategy" / "fine_tuning.yaml").read_text().replace("fine_tuning", "mine")
    (folder / "strategy" / "mine.yaml").write_text(text)
    (one,), _ = list_candidates(["mine"], [["backbone.weights=null"]], DATA, folder)
    assert one.config["strategy"]["name"] == one.frozen_config["strategy"]["name"].replace("linear_probe", "mine")
    assert f"hydra.searchpath=['{folder}']" in one.words
    with pytest.raises(UserError, match="There is no strategy 'mine'"):
        list_candidates(["mine"], [["backbone.weights=null"]], DATA)
    with pytest.raises(UserError, match="is no folder"):
        list_candidates(["mine"], [[]], DATA, folder / "nowhere")


def test_a_strategy_is_named_once():
    with pytest.raises(UserError, match="fine_tuning is named twice"):
        list_candidates(["fine_tuning", "fine_tuning"], [["backbone.weights=null"]], DATA)


def test_a_network_takes_part_with_several_weights_and_once_without(tmp_path):
    for name in ("photos", "drawings"):
        torch.save(StagedNetwork("squeezenet1_1", 1000).network.state_dict(), tmp_path / f"{name}.pth")
    backbones = [
        ["backbone=squeezenet1_1", f"backbone.weights={tmp_path / name}.pth"] for name in ("photos", "drawings")
    ]
    candidates, left_out = list_candidates(["linear_probe", "from_scratch"], backbones, DATA)
    names = [
        "linear_probe squeezenet1_1 photos",
        "from_scratch squeezenet1_1 photos",
        "linear_probe squeezenet1_1 drawings",
    ]
    assert ([one.name for one in candidates], left_out) == (names, [])
    assert [one.network for one in candidates] == [name.split(" ", 1)[1] for name in names]
    with pytest.raises(UserError, match=r"photos\.pth and squeezenet1_1 .*photos\.pth are one network with the same"):
        list_candidates(["linear_probe"], [*backbones, backbones[0]], DATA)
    # The same bytes under another name are no other network.
    shutil.copy(tmp_path / "photos.pth", tmp_path / "copy.pth")
    copied = [*backbones, ["backbone=squeezenet1_1", f"backbone.weights={tmp_path / 'copy.pth'}"]]
    with pytest.raises(UserError, match="squeezenet1_1 photos and squeezenet1_1 copy are one network with the same"):
        list_candidates(["linear_probe"], copied, DATA)
    # Files of one name in different folders, and what is said of all networks, which counts less.
    (tmp_path / "a").mkdir()
    (tmp_path / "photos.pth").rename(tmp_path / "a" / "drawings.pth")
    backbones[0][1] = f"backbone.weights={tmp_path / 'a' / 'drawings.pth'}"
    candidates, _ = list_candidates(["linear_probe"], backbones, [*DATA, "backbone.weights=null"])
    assert [one.network for one in candidates] == [f"squeezenet1_1 {words[1].split('=')[1]}" for words in backbones]

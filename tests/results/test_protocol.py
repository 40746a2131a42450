"""Only what was measured in the same way is put side by side."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from flowers_tl.compare import main
from flowers_tl.results.load_runs import Run, find_runs, group_runs
from flowers_tl.results.protocol import by_protocol, describe_protocol
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


@pytest.fixture(scope="module")
def runs(config, tiny, tmp_path_factory):
    """Runs on all, on few, on a limited test split, and on train and val together."""
    folder = tmp_path_factory.mktemp("runs")
    chosen = {
        "all": {},
        "few": {"data.per_class": 2},
        "limited": {"data.limit": 3},
        "both": {"data.protocol": "trainval"},
    }
    for name, more in chosen.items():
        train(config(tiny(**more)), folder / name)
    return folder


def test_fewer_training_images_may_be_compared(runs, capsys):
    main([str(runs / "all"), str(runs / "few"), f"out={runs / 'out'}"])
    assert "per_class=2" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("limited", "other train images and other val images and other test images (data.limit=3)"),
        ("both", "the trainval protocol"),
    ],
)
def test_unlike_protocols_are_refused_in_words(runs, capsys, other, words):
    with pytest.raises(SystemExit) as stop:
        main([str(runs / "all"), str(runs / "few"), str(runs / other), f"out={runs / 'refused'}"])
    assert stop.value.code == 1
    sentence = capsys.readouterr().err
    assert f"2 are measured with images drawn by the program, but {other}: {words}: compare them separately" in sentence
    assert "allow_mixed=true" in sentence
    assert not (runs / "refused").exists()


def test_mixed_ones_are_shown_apart(runs, capsys):
    main([str(runs / "all"), str(runs / "both"), f"out={runs / 'mixed'}", "allow_mixed=true"])
    printed = capsys.readouterr().out
    assert printed.count("Comparison") == 2
    assert "With the trainval protocol:" in printed
    written = (runs / "mixed" / "comparison.md").read_text()
    assert written.count("| feature_extraction") == 2
    names = {"comparison.md", "comparison.png", "comparison_2.png", "report"}
    assert {file.name for file in (runs / "mixed").iterdir()} == names
    assert all((runs / "mixed" / "report" / part / "report.html").is_file() for part in "12")


def test_a_changed_image_is_another_protocol(config, tiny, drawings, runs, tmp_path):
    shutil.copytree(drawings, tmp_path / "copy")
    test = json.loads((runs / "all" / "result.json").read_text())["protocol"]["splits"]["test"]
    for file in sorted((tmp_path / "copy").rglob("*.jpg")):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    changed = train(config(tiny(data__root=tmp_path / "copy")), tmp_path / "changed")
    assert changed["protocol"]["splits"]["test"] != test
    with pytest.raises(UserError, match="other train images"):
        by_protocol(find_runs([runs / "all", tmp_path / "changed"])[0])


def test_trainval_learns_from_both_and_has_no_val_figures(runs):
    result = json.loads((runs / "both" / "result.json").read_text())
    assert result["data"]["train"] == 3 * (4 + 2)
    assert result["val"] == {"accuracy": None, "balanced_accuracy": None, "loss": None}
    assert result["test"]["accuracy"] is not None
    assert not (runs / "both" / "checkpoints" / "best.ckpt").exists()
    assert "val/loss" not in (runs / "both" / "history.csv").read_text()


def test_few_training_images_are_few_of_each_class(runs):
    assert json.loads((runs / "few" / "result.json").read_text())["data"]["train"] == 3 * 2


@pytest.mark.parametrize(
    "more",
    [
        {"strategy": "linear_probe"},
        {"test_best": "true"},
        {"regularisation": "early_stopping"},
        {"heads.lr": "[0.1,0.2]"},
    ],
)
def test_nothing_is_chosen_by_val_where_it_is_trained_on(config, tiny, tmp_path, more):
    with pytest.raises(UserError, match="trainval"):
        train(config(tiny(data__protocol="trainval", **more)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [("protocol", "trainvall", "did you mean 'trainval'"), ("per_class", 0, "data.per_class=0 must be at least 1")],
)
def test_bad_choices_are_refused(config, tiny, tmp_path, key, value, sentence):
    with pytest.raises(UserError, match=sentence):
        train(config(tiny(**{f"data.{key}": value})), tmp_path / "run")


@pytest.mark.parametrize(
    ("word", "sentence"), [("reports=x", "did you mean 'report'"), ("allow_mixed=yes", "true or false")]
)
def test_bad_options_are_refused(runs, capsys, word, sentence):
    with pytest.raises(SystemExit):
        main([str(runs / "all"), word])
    assert sentence in capsys.readouterr().err


def test_weights_of_another_content_under_the_same_name_are_another_group(config, tiny, tmp_path):
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "w.pth")
        train(config(tiny(backbone__weights=tmp_path / "w.pth", seed=seed)), tmp_path / str(seed))
    groups, _ = group_runs(find_runs([tmp_path])[0])
    assert [len(group.runs) for group in groups] == [1, 1]
    assert len({group.label for group in groups}) == 2


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        ({"name": "flowers", "cut": []}, {}, "the official splits"),
        ({"name": "flowers"}, {}, "the official splits"),
        ({"name": "synthetic", "cut": []}, {}, "images drawn by the program"),
        ({"name": "pets", "cut": ["val"]}, {"split_seed": 3}, "val cut out of train (data.split_seed=3)"),
        (
            {"name": "folder", "cut": ["test", "val"]},
            {"split_seed": 0},
            "val and test cut out of train (data.split_seed=0)",
        ),
        ({"name": "folder", "cut": []}, {"split_seed": 0}, "the data's own splits"),
        ({"name": "folder"}, {"split_seed": 0}, "the splits on record"),
        (
            {"name": "manifest", "cut": ["val"]},
            {"split_seed": 0, "folds": 5},
            "5 folds of all images (data.split_seed=0)",
        ),
    ],
)
def test_only_a_data_set_with_official_splits_is_said_to_have_them(data, settings, words):
    config = {f"data.{key}": value for key, value in settings.items()}
    assert describe_protocol(Run(Path("a"), config, {"data": data, "protocol": {"name": "official"}}, {})) == words

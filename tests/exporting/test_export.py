"""What is handed on answers as the checkpoint does, and is whole or not there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from flowers_tl.exporting.export import DRAWN, export, images_to_compare
from flowers_tl.exporting.formats import FORMATS
from flowers_tl.exporting.verify import TOLERANCE
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.utils.errors import UserError

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")
FILES = [one.file for one in FORMATS.values()]


def test_the_files_lie_there_readable_by_others_and_nothing_else(out):
    assert sorted(file.name for file in out.iterdir()) == sorted([*FILES, "README.md"])
    assert sorted(file.name for file in out.parent.iterdir()) == ["out"]
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {(out / "README.md").stat().st_mode & 0o777}


def test_the_files_answer_with_logits_before_any_temperature(out, calibrated):
    inputs = torch.randn(2, 3, 32, 32)
    for one in FORMATS.values():
        answer = one.read(out / one.file)(inputs)
        assert torch.allclose(answer, calibrated.model(inputs), atol=TOLERANCE)


def alter(monkeypatch, name, change):
    """Let a format write something else than the network."""
    true = FORMATS[name].write

    def write(network, image_size, metadata, file):
        other = get_model("resnet18", num_classes=3).eval()
        other.load_state_dict(network.state_dict())
        change(other)
        true(other, image_size, metadata, file)

    monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], write=write))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_answers_differently_is_never_there(name, calibrated, tmp_path, monkeypatch):
    alter(monkeypatch, name, lambda network: network.fc.bias.data.add_(2 * TOLERANCE))
    with pytest.raises(
        UserError, match=rf"{FORMATS[name].file} gives other results than the checkpoint .*so nothing was written"
    ):
        export(calibrated, tmp_path / "out", ["safetensors", name])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_made_is_one_sentence_and_leaves_nothing(calibrated, tmp_path, monkeypatch):
    def write(*arguments):
        raise RuntimeError("unsupported operator\nand a long trace")

    monkeypatch.setitem(FORMATS, "torch", replace(FORMATS["torch"], write=write))
    with pytest.raises(UserError, match=r"resnet18 can't be exported with formats=torch \(unsupported operator\)"):
        export(calibrated, tmp_path / "out", ["safetensors", "torch"])
    assert list(tmp_path.iterdir()) == []


def test_images_are_those_named_else_of_the_runs_val_else_drawn(calibrated, photos, capsys):
    named = photos({"rose": 2, "aster": 1})
    assert images_to_compare(calibrated, [str(named)])[0] == "3 images of the exporter's choice"
    (named / "bad.png").write_text("no image")
    assert images_to_compare(calibrated, [str(named)])[0] == "3 images of the exporter's choice"
    assert "bad.png can't be read" in capsys.readouterr().err
    with pytest.raises(UserError, match="None of the images"):
        images_to_compare(calibrated, [str(named / "bad.png")])
    words, images = images_to_compare(calibrated, [])
    assert (words, len(images)) == ("6 val images of synthetic", 6)
    assert all(file.is_file() for file in images)
    elsewhere = {**calibrated.config, "data": calibrated.config["data"] | {"root": "nowhere"}}
    words, images = images_to_compare(replace(calibrated, config=elsewhere), [])
    assert "drawn flowers" in words
    assert len(images) == DRAWN
    assert not Path("nowhere").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(calibrated, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for taken, sentence in (
        ("full", "is there already, and not empty"),
        ("full/mine.txt", "mine.txt is a file: use another"),
    ):
        with pytest.raises(UserError, match=sentence):
            export(calibrated, tmp_path / taken, ["safetensors"])
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    export(calibrated, tmp_path / "empty", ["safetensors"])
    assert (tmp_path / "empty" / "model.safetensors").is_file()


@pytest.mark.real_data
@pytest.mark.slow
def test_a_network_trained_on_real_flowers_is_handed_on(flowers_run, tmp_path):
    told, found = export(load_trained(flowers_run), tmp_path / "out")
    assert told == "128 val images of flowers"
    assert all(one.images == 128 and one.largest <= TOLERANCE for one in found.values())

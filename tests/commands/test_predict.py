"""The command predict, used as a user does: any path, any number of images, three formats."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.predict import main

# How paths are typed: as they are, in the quotes that the shell needs.
NAMES = ("my rose.jpg", "a=b.jpg", "one, two.jpg", "[draft] (1).jpg", "star*.png", "ünï→.webp")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos of mine")
    for k, name in enumerate(NAMES):
        Image.new("RGB", (60 + k, 40), (40 * k, 90, 200 - 30 * k)).save(folder / name)
    return folder


@pytest.fixture
def ask(run_folder, capsys):
    """Run the command; return its exit code, output and errors."""

    def asked(*words: str, network: str = "ckpt={}"):
        with pytest.raises(SystemExit) as end:
            main([*words, network.format(run_folder)])
        return end.value.code, *capsys.readouterr()

    return asked


def images_of(text: str) -> list[str]:
    return [json.loads(line)["picture"] for line in text.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_typed_as_it_is(name, photos, ask):
    code, out, _ = ask(f"images={photos / name}", "format=jsonl")
    assert code == 0
    assert images_of(out) == [str(photos / name)]


def test_a_shell_passes_such_paths_on(photos, run_folder):
    command = f"{sys.executable} -m flowers_tl.predict images='{photos}/one, two.jpg' images='{photos}/a=b.jpg' ckpt={run_folder} format=jsonl"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert images_of(done.stdout) == [f"{photos}/one, two.jpg", f"{photos}/a=b.jpg"]


def test_folders_and_patterns_stand_for_their_images(photos, ask):
    everything = sorted(str(photos / name) for name in NAMES)
    assert sorted(images_of(ask(f"images={photos}", "format=jsonl")[1])) == everything
    assert len(images_of(ask(f"images={photos}/*.jpg", "format=jsonl")[1])) == 4
    twice = ask(f"images={photos}/*.jpg", f"images={photos}/my rose.jpg", "format=jsonl")[1]
    assert len(images_of(twice)) == 4


def test_the_formats_tell_the_same(photos, ask):
    image = f"images={photos / NAMES[0]}"
    (line,) = ask(image, "format=jsonl", "top=2")[1].splitlines()
    top = json.loads(line)["top"]
    rows = list(csv.DictReader(io.StringIO(ask(image, "format=csv", "top=2")[1])))
    table = ask(image, "top=2")[1].splitlines()
    assert [row["class"] for row in rows] == [entry["class"] for entry in top]
    assert [float(row["probability"]) for row in rows] == pytest.approx([e["probability"] for e in top], abs=1e-6)
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert table[0] == str(photos / NAMES[0])
    assert [line.split("%")[1].strip() for line in table[1:]] == [entry["class"] for entry in top]


def test_a_image_that_can_not_be_read_is_told_and_the_others_are_answered(photos, ask, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    code, out, told = ask(f"images={tmp_path}", f"images={photos}", "format=jsonl", "batch_size=2")
    assert code == 1
    assert len(images_of(out)) == len(NAMES)
    assert "bad.jpg can't be read" in told
    assert "1 of 7 images could not be read" in told


def test_a_name_that_is_no_text_is_printed_with_escapes(photos, run_folder, run_command, tmp_path):
    name = os.fsencode(tmp_path) + b"/ros\xe9.jpg"
    shutil.copyfile(photos / NAMES[0], name)
    for form in ("table", "csv", "jsonl"):
        done = run_command("predict", f"images={tmp_path}", f"ckpt={run_folder}", f"format={form}", PYTHONUTF8="1")
        assert done.returncode == 0, done.stderr
        assert "ros\\udce9.jpg" in done.stdout
    assert os.fsencode(json.loads(done.stdout)["picture"]) == name


def test_a_pipe_is_no_image(photos, ask, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    code, _, told = ask(f"images={tmp_path / 'pipe.jpg'}", f"images={photos / NAMES[0]}")
    assert code == 1
    assert "it is a pipe" in told


def test_imagenets_classes_are_asked_without_a_checkpoint(photos, tmp_path, capsys):
    torch.save(StagedNetwork("squeezenet1_1", 1000).network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(SystemExit) as end:
        main([f"images={photos / NAMES[0]}", "backbone=squeezenet1_1", f"backbone.weights={tmp_path / 'w.pth'}"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ckpt=x"], "images is missing: images=PATH"),
        (["images="], "images= is empty"),
        (["images=nothing.jpg"], "images=nothing.jpg is no file or folder"),
        (["images={photos}"], "Give just one network"),
        (["images={photos}", "ckpt=nowhere"], "ckpt=nowhere is not there"),
        (["images={photos}", "backbone=resnet81"], "did you mean 'resnet18'"),
        (["images={photos}", "backbone=resnet18", "backbone.weights=null"], "would predict at random"),
        (["images={photos}", "ckpt={run}", "ckpt={run}"], "ckpt is given twice"),
        (["images={photos}", "ckpt={run}", "top=0"], "top=0"),
        (["images={photos}", "ckpt={run}", "device=gpu"], "device=gpu is unknown"),
        (["images={photos}", "ckpt={run}", "devce=cpu"], "did you mean 'device'"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, photos, run_folder, capsys):
    with pytest.raises(SystemExit) as end:
        main([word.replace("{photos}", str(photos)).replace("{run}", str(run_folder)) for word in words])
    assert end.value.code == 1
    text = capsys.readouterr().err
    assert sentence in text
    assert text.count("\n") == 1

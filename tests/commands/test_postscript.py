"""A file of a format that is not meant, whatever it is called, is never decoded: Pillow would run PostScript in Ghostscript."""

import json
import os
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import EpsImagePlugin, Image, MpoImagePlugin

import flowers_tl
from flowers_tl.utils.errors import UserError

ENDLESS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n{} loop\n"
KEYS = ["data=folder", "data.image_size=32", "data.num_workers=0", "backbone=squeezenet1_1", "backbone.weights=null"]
KEYS += ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A file that is there once a Ghostscript was started, in this process or in another."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


@pytest.fixture
def safe(started):
    """The test fails where a Ghostscript was started."""
    yield
    assert not started.exists()


@pytest.fixture
def bait(photos):
    """A folder of photos, of which one is PostScript."""
    folder = photos({"aster": 10, "lily": 10})
    (folder / "aster" / "bait.jpg").write_bytes(ENDLESS)
    return folder


@pytest.fixture
def train(config, tmp_path):
    """Train on a folder under further overrides; return the result."""
    from flowers_tl.training.run import train

    return lambda root, *more: train(config([*KEYS, f"data.root={root}", *more]), tmp_path / "run")


def command(name, *words):
    """Run a command in this process; return its exit code."""
    try:
        import_module(f"flowers_tl.{name}").main([str(word) for word in words])
    except SystemExit as end:
        return end.code
    return 0


def test_pillow_alone_would_start_it(bait, started):
    with suppress(OSError), Image.open(bait / "aster" / "bait.jpg") as image:
        image.load()
    assert started.exists()


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("cached", ["true", "false"])
def test_training_leaves_it_out(bait, train, cached):
    result = train(bait, f"cache.enabled={cached}")
    assert result["status"] == "finished"
    assert result["data"]["left_out"] == ["aster/bait.jpg"]


@pytest.mark.usefixtures("safe")
@pytest.mark.parametrize("words", [["data.strict=true"], ["data=eurosat"], ["data=eurosat", "cache.enabled=false"]])
def test_training_refuses_it_where_nothing_is_left_out(bait, train, words, tmp_path):
    if "data=eurosat" in words:  # a set of torchvision's
        (tmp_path / "sets" / "eurosat").mkdir(parents=True)
        (tmp_path / "sets" / "eurosat" / "2750").symlink_to(bait)
        words, bait = [*words, "data.split_seed=1"], tmp_path / "sets"
    with pytest.raises(UserError, match=r"bait\.jpg"):
        train(bait, *words)


@pytest.mark.usefixtures("safe")
def test_commands_that_ask_a_network_tell_of_it(bait, run_folder, tmp_path, capsys):
    asked = [f"images={bait}", f"ckpt={run_folder}"]
    assert command("predict", *asked, f"figure={tmp_path / 'a.png'}") == 1
    assert command("explain", *asked, f"figure={tmp_path / 'b.png'}") == 1
    told = capsys.readouterr().err
    assert len(re.findall(r"bait\.jpg can't be read as an image \(it is none of JPEG, PNG, ", told)) == 2
    assert (tmp_path / "a.png").is_file()


@pytest.mark.usefixtures("safe")
def test_the_page_tells_of_it(bait, run_folder):
    from flowers_tl.inference.web_demo import answerer

    gradio = SimpleNamespace(update=lambda value, visible: value)
    answer = answerer(flowers_tl.load(run_folder), {}, False, gradio)
    assert answer(str(bait / "aster" / "bait.jpg"))[0].startswith("bait.jpg can't be read as an image (it is none of")


@pytest.mark.usefixtures("safe")
def test_commands_on_a_run_whose_images_were_exchanged(bait, train, tmp_path, capsys):
    train(bait)
    capsys.readouterr()
    # A note names ten files at most.
    for file in sorted(bait.rglob("*.jpg"))[::3]:
        file.write_bytes(ENDLESS)
    exchanged = [file for file in bait.rglob("*.jpg") if file.read_bytes() == ENDLESS]
    assert command("evaluate", f"ckpt={tmp_path / 'run'}", "split=all", f"out={tmp_path / 'evaluated'}") == 0
    told = capsys.readouterr().err
    assert f"Note: {len(exchanged)} of 21 images left out" in told
    assert all(f"{file} can't be read as an image" in told for file in exchanged)
    measured = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())
    assert measured["scores"]["pictures"] == 21 - len(exchanged)
    for file in bait.rglob("*.jpg"):
        file.write_bytes(ENDLESS)
    assert command("compare", tmp_path / "run", f"report={tmp_path / 'report'}") == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "The images are not shown: the very images that the runs were tested on are not in their folder" in page
    assert "<img" not in page
    words = [f"ckpt={tmp_path / 'run'}", f"out={tmp_path / 'exported'}", "formats=torch"]
    assert command("export", *words) == 0  # compared on drawn flowers, as none of the run's can be read
    assert command("export", *words, f"images={bait}") == 1


@pytest.mark.usefixtures("safe")
def test_an_image_that_pillow_has_opened_and_not_decoded_is_refused(bait, run_folder):
    network = flowers_tl.load(run_folder)
    with (
        Image.open(bait / "aster" / "bait.jpg") as image,
        pytest.raises(UserError, match="of format EPS is none of"),
    ):
        network.predict(image)


def test_formats_that_are_meant_are_read_under_any_name(photos, tmp_path):
    """Cameras write MPO, and public sets hold GIFs, under the name .jpg."""
    from flowers_tl.data.image_io import read_image

    (file,) = photos({"aster": 1}).rglob("*.jpg")
    flower = Image.open(file)
    for kind in ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        more = {"save_all": True, "append_images": [flower]} if kind == "MPO" else {}
        flower.save(tmp_path / f"{kind}.jpg", kind, **more)
        assert read_image(tmp_path / f"{kind}.jpg").size == flower.size
    assert isinstance(Image.open(tmp_path / "MPO.jpg"), MpoImagePlugin.MpoImageFile)


def test_no_other_place_opens_an_image():
    package = Path(flowers_tl.__file__).parent
    calls = [call for file in package.rglob("*.py") for call in re.findall(r"Image\.open\(.*", file.read_text())]
    assert calls
    assert all("formats=" in call for call in calls)

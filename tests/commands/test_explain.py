"""The command explain and the figures of predict, used as a user does; what is drawn, and what is left alone."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from flowers_tl import explain, predict

pytestmark = pytest.mark.skipif(
    not find_spec("captum"), reason="needs captum: pip install '.[explain]' in a checkout of the project"
)


@pytest.fixture
def flowers(photos):
    """A folder with three images."""
    return photos({"a": 2, "b": 1})


def flat(text: str) -> str:
    return text.replace("\n", " ")


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.fixture
def ask(capsys):
    """Run a command; return its exit code, output and errors."""

    def asked(command, *words: object):
        with pytest.raises(SystemExit) as end:
            command.main([str(word) for word in words])
        return end.value.code, *capsys.readouterr()

    return asked


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_figure_is_drawn_and_drawn_again(ending, flowers, run_folder, tmp_path, ask):
    figure = tmp_path / f"heat.{ending}"
    words = (f"images={flowers}", f"ckpt={run_folder}", f"figure={figure}", "stage=layer1")
    assert ask(explain, *words) == (0, "", f"Drawn: {figure}.\n")
    first = figure.stat().st_mtime_ns
    assert ask(explain, *words, "class=drawn species 2")[0] == 0
    assert figure.stat().st_mtime_ns > first


def test_two_checkpoints_stand_side_by_side(flowers, run_folder, tmp_path, ask, figures):
    best = run_folder / "checkpoints" / "best.ckpt"
    done = ask(explain, f"images={flowers}", f"ckpt={run_folder}", f"ckpt={best}", f"figure={tmp_path / 'pair.png'}")
    assert done[0] == 0
    text = [title.split("\n")[0] for title in titles(figures[0])]
    assert [title.split(":")[0] for title in text[1:4]] == ["A", "B", "B minus A"]
    assert text[1].removeprefix("A") == text[2].removeprefix("B")  # the class that A answers
    headline = flat(figures[0].get_suptitle())
    assert f"A: Grad-CAM at layer4, 1 by 1 places: fine_tuning of resnet18, {run_folder}" in headline


def test_a_sheet_has_twelve_images_and_says_what_it_leaves_out(run_folder, tmp_path, ask, figures):
    for k in range(14):
        Image.new("RGB", (40, 40), (10 * k, 90, 30)).save(tmp_path / f"{k:02d}.png")
    (tmp_path / "00.png").write_text("no image")
    for command in (explain, predict):
        code, _, told = ask(
            command, f"images={tmp_path}/*.png", f"ckpt={run_folder}", f"figure={tmp_path / 'sheet.svg'}"
        )
        assert code == 1
        assert "00.png can't be read" in told
        assert "sheet.svg, with the first 12 of 13 images" in told
        assert "01.png" in titles(figures[-1])
        assert "12.png" in titles(figures[-1])
        assert "13.png" not in titles(figures[-1])


def test_without_a_readable_image_nothing_is_drawn(run_folder, tmp_path, ask):
    (tmp_path / "bad.jpg").write_text("no image")
    for command in (explain, predict):
        code, _, told = ask(command, f"images={tmp_path}", f"ckpt={run_folder}", f"figure={tmp_path / 'sheet.png'}")
        assert code == 1
        assert "1 of 1 images could not be read" in told
        assert not (tmp_path / "sheet.png").exists()


def test_nothing_but_an_earlier_figure_is_overwritten(flowers, run_folder, tmp_path, ask):
    own = tmp_path / "holiday.png"
    Image.new("RGB", (40, 40)).save(own)
    sheet = tmp_path / "sheet.png"
    assert ask(explain, f"images={own}", f"ckpt={run_folder}", f"figure={sheet}")[0] == 0
    kept = own.read_bytes(), sheet.read_bytes()
    for images, figure, sentence in (
        (flowers, own, "is there already, and was not drawn by this project"),
        (own, own, "is one of the images"),
        (tmp_path, sheet, "is one of the images"),  # the folder holds the figure of the last time
    ):
        for command in (explain, predict):
            code, out, told = ask(command, f"images={images}", f"ckpt={run_folder}", f"figure={figure}")
            assert (code, out) == (1, "")
            assert sentence in told
    assert (own.read_bytes(), sheet.read_bytes()) == kept


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["images={photos}", "ckpt={run}"], "figure is missing: figure=PATH"),
        (["figure={new}", "ckpt={run}"], "images is missing: images=PATH"),
        (["images={photos}", "figure={new}"], "Give just one network"),
        (["images={photos}", "figure={new}", "ckpt={run}", "ckpt={run}", "ckpt={run}"], "ckpt=PATH is given 3 times"),
        (["images={photos}", "figure={new}", "ckpt={run}", "stage=layer33"], "did you mean 'layer3'"),
        (["images={photos}", "figure={new}", "ckpt={run}", "stage=head"], "stage=head of resnet18 has no map"),
        (["images={photos}", "figure={new}", "ckpt={run}", "class=drawn species 9"], "has no class 'drawn species 9'"),
        (["images={photos}", "figure={new}", "ckpt={run}", "top=0"], "top=0"),
        (["images={photos}", "figure=heat.gif", "ckpt={run}"], "must end with one of .png, .svg, .pdf"),
        (["images={photos}", "figure=nowhere/heat.png", "ckpt={run}"], "The folder of figure="),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, flowers, run_folder, tmp_path, ask):
    keys = {"{photos}": flowers, "{run}": run_folder, "{new}": tmp_path / "new.png"}
    for key, value in keys.items():
        words = [word.replace(key, str(value)) for word in words]
    code, _, told = ask(explain, *words)
    assert code == 1
    assert sentence in told
    assert told.count("\n") == 1
    assert not (tmp_path / "new.png").exists()


def test_predict_draws_bars_without_captum_and_heat_with_it(flowers, run_folder, tmp_path, ask, figures, monkeypatch):
    words = (f"images={flowers}", f"ckpt={run_folder}", "format=csv", f"figure={tmp_path / 'top.png'}", "top=2")
    plain = ask(predict, *words[:3], "top=2")
    heat = ask(predict, *words, "explain=true")
    assert heat[:2] == plain[:2]
    assert len(titles(figures[0])) == 2 * 3
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    monkeypatch.setitem(sys.modules, "captum", None)
    assert ask(predict, *words)[:2] == plain[:2]
    assert titles(figures[1]) == ["0.jpg", "1.jpg", "0.jpg"]
    told = "Error: A heat map needs captum: pip install '.[explain]' in a checkout of the project.\n"
    assert ask(predict, *words, "explain=true") == (1, "", told)  # before anything is asked


def test_predict_explains_only_into_a_figure(flowers, run_folder, ask):
    code, out, told = ask(predict, f"images={flowers}", f"ckpt={run_folder}", "explain=true")
    assert (code, out) == (1, "")
    assert "explain=true draws heat maps into a figure: add figure=PATH" in told


@pytest.mark.real_data
def test_imagenets_network_is_explained_without_a_checkpoint(tmp_path, ask, figures, monkeypatch):
    import os

    folder = Path(os.environ["FLOWERS102_ROOT"], "flowers-102", "jpg")
    network = ("backbone=squeezenet1_1", "backbone.weights=squeezenet1_1-imagenet.pth", "device=cpu")
    assert ask(explain, f"images={folder / 'image_06201.jpg'}", *network, f"figure={tmp_path / 'daisy.png'}")[0] == 0
    assert titles(figures[0])[1].startswith("daisy\n100.0%")
    assert flat(figures[0].get_suptitle()) == "Grad-CAM at stage3, 13 by 13 places: ImageNet's squeezenet1_1"

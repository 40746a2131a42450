"""What is handed on says all that one must know, and the code on its card is used without this project."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_images import tiff
from PIL import Image

from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.data.transforms import Preprocessing, eval_transform
from flowers_tl.exporting.export import export
from flowers_tl.exporting.formats import FORMATS
from flowers_tl.exporting.model_card import describe_model, measured_in
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.inference.predictor import Predictor
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")
FILES = [one.file for one in FORMATS.values()]


def metadata_of(folder: Path) -> dict[str, dict[str, str]]:
    import onnxruntime
    from safetensors import safe_open

    texts = dict.fromkeys(("backbone",), "")
    torch.export.load(folder / "model.pt2", extra_files=texts)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {
            "model.onnx": onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta().custom_metadata_map,
            "model.pt2": texts,
            "model.safetensors": file.metadata(),
        }


def test_the_same_metadata_travels_in_every_file(out, calibrated):
    about = json.loads(json.dumps(describe_model(calibrated)))
    for texts in metadata_of(out).values():
        assert {key: json.loads(text) for key, text in texts.items()} == about
    how, of = about["preprocessing"], about["provenance"]
    assert (how["resize"], how["crop"], how["layout"], how["range"]) == (37, 32, "NCHW", [0, 1])
    assert about["class_names"] == [f"drawn species {k}" for k in range(3)]
    assert about["temperature"] == 2.0
    assert of["measured"] == calibrated.measured
    assert of["data"] == {"name": "synthetic", "train": 12, "val": 6, "test": 9}
    assert of["measured_in"] == {"trainer.precision": "32-true", "cache.precision": "fp32"}
    for key in ("id", "strategy", "seed", "protocol", "weights", "weights_fingerprint"):
        assert of[key] == calibrated.record[key]
    assert of["trained_with"] == calibrated.record["versions"]


def test_no_path_of_this_machine_travels(out, calibrated):
    for file in out.iterdir():
        for path in (Path(torch.__file__).parents[1], Path(__file__).parents[2], calibrated.config["data"]["root"]):
            assert str(path).encode() not in file.read_bytes()


@pytest.mark.parametrize("file", FILES)
def test_the_code_on_the_card_runs_as_printed_and_answers_as_predict_does(file, out, calibrated, tmp_path):
    folder = shutil.copytree(out, tmp_path / "out")
    data = SyntheticDataModule(calibrated.config["data"]["root"], 3, 4, 2, 3, 32)
    data.setup()
    image = Image.open(data.images["test"].files[0]).resize((70, 45))
    exif = image.getexif()
    exif[274] = 6  # taken with the camera on its side
    image.save(folder / "picture.jpg", exif=exif)
    block = re.search(rf"## Use {file}\n.*?```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    alone = f"import sys; sys.modules['flowers_tl'] = None; exec({block!r})"
    done = subprocess.run([sys.executable, "-c", alone], cwd=folder, capture_output=True, text=True, check=True)
    (own,) = Predictor.load(calibrated.path, "cpu").predict(folder / "picture.jpg")
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [name for _, name in lines] == list(own.classes)
    assert [float(share) for share, _ in lines] == pytest.approx(own.probabilities, abs=1e-4)
    assert own.probabilities[0] < 0.99  # a temperature that was forgotten would show


def odd_images(folder: Path) -> dict[str, Path]:
    """A scene in forms that a plain conversion to RGB would get wrong."""
    y, x = np.mgrid[0:45, 0:70]
    grey, alpha = (x * 3 + y).astype(np.uint8), Image.fromarray((y * 5).astype(np.uint8))
    images = {"sixteen": Image.fromarray(grey.astype(np.uint16) * 257), "grey alpha": Image.fromarray(grey)}
    images["grey alpha"].putalpha(alpha)
    images["colour alpha"] = Image.merge("RGB", [Image.fromarray(c) for c in (grey, 255 - grey, grey // 2)])
    images["colour alpha"].putalpha(alpha)
    images["palette"] = images["colour alpha"].convert("RGB").quantize(64)
    images["cmyk"] = images["colour alpha"].convert("RGB").convert("CMYK")
    files = {}
    for name, image in images.items():
        files[name] = folder / f"{name}.{'jpg' if name == 'cmyk' else 'png'}"
        image.save(files[name], **({"transparency": 3} if name == "palette" else {}))
    tiffs = {"float": tiff((grey / 255).astype("<f4")), "white is zero": tiff(grey.astype("<u2") * 257, 0)}
    tiffs |= {"signed": tiff(grey.astype("<i4")), "eight": tiff(grey.view(np.int8)), "wide": tiff(grey.astype("<f4"))}
    for name, content in tiffs.items():
        files[name] = folder / f"{name}.tif"
        files[name].write_bytes(content)
    return files


def answers_of_card(file: str, card: Path, images: dict[str, Path]) -> dict[str, list[list[str]]]:
    """The lines (probability, class) that the code of a card prints for each image; none where it refuses the image."""
    block = re.search(rf"## Use {file}\n.*?```python\n(.*?)```", card.read_text(), re.DOTALL)[1]
    codes = [f"print('image: {name}')\n" + block.replace("picture.jpg", str(path)) for name, path in images.items()]
    alone = "import contextlib, sys; sys.modules['flowers_tl'] = None\n"
    alone += f"for code in {codes!r}:\n    with contextlib.suppress(SystemExit): exec(code, {{}})"
    done = subprocess.run([sys.executable, "-c", alone], cwd=card.parent, capture_output=True, text=True, check=True)
    parts = (part.splitlines() for part in done.stdout.split("image: ")[1:])
    return {name: [line.split(" ", 1) for line in lines] for name, *lines in parts}


@pytest.fixture
def ranged(calibrated):
    """The run, as if its images had been read with data.value_range."""
    data = calibrated.record["data"] | {"value_range": [0, 255]}
    return replace(calibrated, record=calibrated.record | {"data": data})


def same_answers(images, exported, network):
    """The images for which the code of all three files says what the network says, and those that both refuse."""
    own = {}
    for name, image in images.items():
        with suppress(UserError):
            (own[name],) = network.predict(image)
    for file in FILES:
        for name, lines in answers_of_card(file, exported / "README.md", images).items():
            assert [label for _, label in lines] == list(own[name].classes if name in own else []), (name, file)
            shares = own[name].probabilities if name in own else []
            assert [float(share) for share, _ in lines] == pytest.approx(shares, abs=1e-4), (name, file)
    return set(own), images.keys() - own.keys()


def test_the_code_on_the_card_prepares_odd_images_as_predict_does(out, calibrated, tmp_path):
    agreed, refused = same_answers(odd_images(tmp_path), out, Predictor.load(calibrated.path, "cpu"))
    assert agreed == {"sixteen", "grey alpha", "colour alpha", "palette", "cmyk", "float", "white is zero"}
    assert refused == {"signed", "eight", "wide"}


def test_the_code_on_the_card_knows_the_range_of_the_training_images(ranged, tmp_path):
    export(ranged, tmp_path / "out")
    network = Predictor.load(ranged.path, "cpu")
    network.value_range = [0, 255]
    images = {name: file for name, file in odd_images(tmp_path).items() if name in ("signed", "wide", "float")}
    assert same_answers(images, tmp_path / "out", network) == ({"signed", "wide", "float"}, set())


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_the_code_on_the_card_prepares_images_as_the_networks_weights_expect(calibrated, tmp_path, fit):
    how = Preprocessing(fit=fit, interpolation="bicubic", mean=[0.5, 0.4, 0.3], std=[0.5, 0.25, 1.0])
    trained = replace(calibrated, model=copy.deepcopy(calibrated.model))
    trained.model.how = how
    export(trained, tmp_path / "out", ["safetensors"])
    image = {"a": odd_images(tmp_path)["cmyk"]}
    network = Predictor.load(calibrated.path, "cpu")
    plain = network.predict(image["a"])[0]
    network.transform = eval_transform(32, how)
    (own,) = network.predict(image["a"])
    lines = answers_of_card("model.safetensors", tmp_path / "out" / "README.md", image)["a"]
    shares = {label: float(share) for share, label in lines}
    assert shares == pytest.approx(dict(own.top), abs=1e-4)
    assert shares != pytest.approx(dict(plain.top), abs=1e-3)
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("of the colour 128, 102, 76" in card) == (fit == "pad")
    assert ("which changes its shape" in card) == (fit == "squash")
    assert "bicubic, antialiased" in card
    assert "0.5, 0.4, 0.3" in card


@pytest.mark.real_data
def test_the_code_on_the_card_agrees_on_the_cases(out, calibrated):
    # The code has no bounds of memory, as the package has: it is for one's own image.
    files = [*(Path(os.environ["FLOWERS102_ROOT"]) / "cases").glob("*.[pt]*")]
    images = {file.name: file for file in files if not file.name.startswith("thin")}
    agreed, refused = same_answers(images, out, Predictor.load(calibrated.path, "cpu"))
    assert refused == {"int32_255.tif"}
    assert agreed >= {"float01.tif", "grey_alpha.png", "sixteen.png", "white_is_zero_16.tif"}


def test_the_card_says_what_it_is_and_how_good(out, calibrated):
    card, test = (out / "README.md").read_text(), calibrated.measured["test"]
    for words in (
        "resnet18 for 3 classes",
        "synthetic: 12 train, 6 val, 9 test",
        "data.protocol=official, fingerprints: train",
        "fine_tuning, 2 epochs, seed 0",
        f"last.ckpt, run {calibrated.record['id']}",
        f"| test | {test['accuracy']:.2%} | {test['balanced_accuracy']:.2%} | {test['loss']:.4f} |",
        "6 of 6 images",
        "6 val images of synthetic",
        "short side has 37 pixels",
        "The temperature is 2, fitted on val",
    ):
        assert words in card


def test_a_card_of_weights_that_were_not_measured_says_so(run_folder, tmp_path):
    best = load_trained(run_folder / "checkpoints" / "best.ckpt")
    export(best, tmp_path / "out", ["safetensors"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| val | not measured |  |  |" in card
    assert "| test | not measured |  |  |" in card
    assert "Measured by" not in card
    assert "best.ckpt, run" in card
    assert "## Use model.onnx" not in card


def test_what_kept_a_measurement_from_all_images_is_told(config, tiny, tmp_path):
    train(
        config(tiny(**{"data.limit": 5, "trainer.limit_test_batches": 1, "trainer.limit_val_batches": 0})),
        tmp_path / "run",
    )
    trained = load_trained(tmp_path / "run")
    told = {"data.limit": 5, "trainer.limit_test_batches": 1, "trainer.limit_val_batches": 0}
    assert told.items() <= measured_in(trained).items()
    export(trained, tmp_path / "out", ["safetensors"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert ", with trainer.precision=32-true, " in card
    assert "trainer.limit_test_batches=1" in card
    assert "| val | not measured |" in card


def test_a_checkpoint_of_which_little_is_known_is_exported_all_the_same(calibrated, tmp_path):
    export(replace(calibrated, config=None, record={}), tmp_path / "out", ["safetensors"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("not on record") >= 5
    assert "| test | not measured |" in card
    assert "drawn flowers (the images of its run were not at hand)" in card

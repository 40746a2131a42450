"""What is handed on answers as the checkpoint does, says all that one must know, and is used without this project."""

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
from torch import nn
from torchvision.models import get_model

from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.export import main
from flowers_tl.exporting.export import DRAWN, export, images_to_compare
from flowers_tl.exporting.formats import FORMATS, find_formats
from flowers_tl.exporting.model_card import describe, measured_in
from flowers_tl.exporting.verify import TOLERANCE, compare
from flowers_tl.inference.checkpoint import keep_temperature, load_trained
from flowers_tl.inference.predictor import Predictor
from flowers_tl.models.backbone import ARCHITECTURES, Backbone
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

pytest.importorskip("onnxruntime", reason="needs pip install 'flowers_tl[export]'")
FILES = [one.file for one in FORMATS.values()]


@pytest.fixture(scope="module")
def calibrated(run_folder, tmp_path_factory):
    """The shared run with a temperature, so that one sees where it goes."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run_folder, folder)
    keep_temperature(load_trained(folder), 2.0)
    return load_trained(folder)


@pytest.fixture(scope="module")
def out(calibrated, tmp_path_factory):
    """All files of a calibrated run."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    export(calibrated, folder)
    return folder


def living(name: str) -> nn.Module:
    """A random network of which the statistics fit its activations, so that its logits tell images apart."""
    torch.manual_seed(0)
    network = Backbone(name, 5).network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        network(torch.randn(8, 3, 224, 224))
    return network.eval().requires_grad_(False)


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_torchvision_takes_the_state_dict_of_every_network_strictly(name, tmp_path):
    from safetensors.torch import load_file

    own = Backbone(name, 5).network
    for key, tensor in own.state_dict().items():
        tensor.fill_(7) if key.endswith("num_batches_tracked") else tensor.add_(1)
    own.to(memory_format=torch.channels_last)  # as predict leaves it
    FORMATS["safetensors"].write(own, 224, {"a": "b"}, tmp_path / "w.safetensors")
    theirs = get_model(name, num_classes=5)
    theirs.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, own.state_dict()[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_answers_alike_in_every_format_at_any_batch_size(name, tmp_path):
    network, inputs = living(name), torch.randn(3, 3, 224, 224)
    metadata = {"backbone": json.dumps(name), "class_names": json.dumps(list("abcde"))}
    files = {}
    for one in FORMATS.values():
        one.write(network, 224, metadata, tmp_path / one.file)
        files[one.file] = one.read(tmp_path / one.file)
    assert network(inputs).std(dim=0).max() > 100 * TOLERANCE  # else any file would agree
    found = compare(network, files, [(["a", "b", "c"], inputs), (["d"], inputs[:1])])
    assert all(one.images == 4 and one.ties == 0 for one in found.values())


def test_the_files_lie_there_readable_by_others_and_nothing_else(out):
    assert sorted(file.name for file in out.iterdir()) == sorted([*FILES, "README.md"])
    assert sorted(file.name for file in out.parent.iterdir()) == ["out"]
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {(out / "README.md").stat().st_mode & 0o777}


def test_the_same_metadata_travels_in_every_file(out, calibrated):
    about = json.loads(json.dumps(describe(calibrated)))
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


@pytest.mark.real_data
def test_the_code_on_the_card_agrees_on_the_cases(out, calibrated):
    images = {file.name: file for file in (Path(os.environ["FLOWERS102_ROOT"]) / "cases").glob("*.[pt]*")}
    agreed, refused = same_answers(images, out, Predictor.load(calibrated.path, "cpu"))
    assert refused == {"int32_255.tif"}
    assert len(agreed) == 5


def test_the_files_answer_with_logits_before_any_temperature(out, calibrated):
    inputs = torch.randn(2, 3, 32, 32)
    for one in FORMATS.values():
        answer = one.read(out / one.file)(inputs)
        assert torch.allclose(answer, calibrated.model(inputs), atol=TOLERANCE)


def test_the_card_says_what_it_is_and_how_good(out, calibrated):
    card, test = (out / "README.md").read_text(), calibrated.measured["test"]
    for words in (
        "resnet18 for 3 classes",
        "synthetic: 12 train, 6 val, 9 test",
        "official, fingerprints: train",
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
        UserError, match=rf"{FORMATS[name].file} does not answer as the checkpoint does.*Nothing was written"
    ):
        export(calibrated, tmp_path / "out", ["safetensors", name])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_made_is_one_sentence_and_leaves_nothing(calibrated, tmp_path, monkeypatch):
    def write(*arguments):
        raise RuntimeError("unsupported operator\nand a long trace")

    monkeypatch.setitem(FORMATS, "torch", replace(FORMATS["torch"], write=write))
    with pytest.raises(UserError, match=r"formats=torch can't be made of resnet18 \(unsupported operator\)"):
        export(calibrated, tmp_path / "out", ["safetensors", "torch"])
    assert list(tmp_path.iterdir()) == []


LOGITS = torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0 + 0.5 * TOLERANCE, 0.0]])


def logits(inputs):
    return LOGITS[inputs[:, 0, 0, 0].long()]


def asked(answer):
    inputs = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    return compare(logits, {"file": answer}, [(["a.jpg", "b.jpg"], inputs)])["file"]


def test_rounding_is_no_difference():
    found = asked(lambda inputs: logits(inputs) - 0.9 * TOLERANCE)
    assert (found.images, found.ties) == (2, 0)
    assert found.largest == pytest.approx(0.9 * TOLERANCE, rel=1e-2)


def test_a_tie_that_rounding_decides_is_counted_and_no_fault():
    found = asked(lambda inputs: logits(inputs) + torch.tensor([0.6, 0, 0]) * TOLERANCE)
    assert (found.images, found.ties) == (2, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda own: own + 2 * TOLERANCE, "a.jpg a logit differs by 0.0002"),
        (lambda own: own * torch.tensor([float("nan"), 1, 1]), "a.jpg a logit differs by nan"),
        (lambda own: own + torch.tensor([2.0, 0, 0]) * TOLERANCE * (own[:, :1] < 2), "b.jpg.*names another class"),
    ],
)
def test_what_is_more_than_rounding_is_refused_with_the_image(change, words):
    with pytest.raises(UserError, match=words):
        asked(lambda inputs: change(logits(inputs)))


def test_a_class_that_the_network_tells_from_the_next_is_not_lost_within_the_tolerance(monkeypatch):
    monkeypatch.setitem(globals(), "LOGITS", torch.tensor([[3.0, 1, 0], [1.0, 1.0 + 1.5 * TOLERANCE, 0]]))
    with pytest.raises(UserError, match=r"b.jpg.*names another class"):
        asked(lambda inputs: logits(inputs) + torch.tensor([0.9, -0.9, 0]) * TOLERANCE)


@pytest.mark.parametrize("count", [1, 4])
def test_a_difference_at_another_batch_size_is_found(count):
    with pytest.raises(UserError, match="does not answer as the checkpoint does"):
        asked(lambda inputs: logits(inputs) + (len(inputs) == count))


def test_a_file_that_takes_one_size_of_batch_alone_is_refused():
    def fixed(inputs):
        if len(inputs) != 2:
            raise RuntimeError("got 1, expected 2\nmore")
        return logits(inputs)

    with pytest.raises(UserError, match=r"does not take any number of images \(got 1, expected 2\)"):
        asked(fixed)


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


def test_only_packages_of_the_formats_asked_for_are_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert [one.file for one in find_formats(["torch", "torch"]).values()] == ["model.pt2"]
    for name, package in (("onnx", "onnxscript"), ("safetensors", "safetensors")):
        with pytest.raises(UserError, match=rf"formats={name} needs {package}: pip install 'flowers_tl\[export\]'"):
            find_formats(["torch", name])


def test_a_folder_that_holds_something_is_left_as_it_is(calibrated, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for taken in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(UserError, match="is there already, and not empty"):
            export(calibrated, taken, ["safetensors"])
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    export(calibrated, tmp_path / "empty", ["safetensors"])
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_the_command_says_in_a_few_lines_what_it_did(run_command, run_folder, tmp_path):
    done = run_command("export", f"ckpt={run_folder}", f"out={tmp_path / 'a=b, c'}")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == FILES
    assert all("same class first on 6 of 6 images" in line for line in lines[:3])
    assert "6 val images of synthetic" in lines[3]
    assert len(lines) == 5
    assert done.stderr == ""
    assert (tmp_path / "a=b, c" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out={tmp}/o"], "ckpt is missing: ckpt=PATH"),
        (["ckpt={run}"], "out is missing: out=PATH"),
        (["ckpt=nowhere", "out={tmp}/o"], "ckpt=nowhere is not there"),
        (["ckpt={run}", "out={tmp}/o", "formats=onx"], "did you mean 'onnx'"),
        (["ckpt={run}", "out={tmp}/o", "images=none.jpg"], "images=none.jpg is neither a file"),
        (["ckpt={run}", "out={tmp}"], "is there already"),
        (["ckpt={run}", "out={tmp}/o", "format=onnx"], "did you mean 'formats'"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, run_folder, tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit) as end:
        main([word.replace("{run}", str(run_folder)).replace("{tmp}", str(tmp_path)) for word in words])
    assert end.value.code == 1
    text = capsys.readouterr().err
    assert sentence in text
    assert text.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.real_data
@pytest.mark.slow
def test_a_network_trained_on_real_flowers_is_handed_on(flowers_run, tmp_path):
    told, found = export(load_trained(flowers_run), tmp_path / "out")
    assert told == "128 val images of flowers"
    assert all(one.images == 128 and one.largest <= TOLERANCE for one in found.values())

"""What is handed on says all that one must know, and the code on its card is used without this project."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flowers_tl.exporting.export import export
from flowers_tl.exporting.formats import FORMATS
from flowers_tl.exporting.model_card import describe_model, measured_in
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.training.run import train

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

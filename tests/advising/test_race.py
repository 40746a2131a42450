"""A race on drawn flowers: it is interrupted and goes on, runs nothing twice, and tests only what it advises."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from flowers_tl.advise import main
from flowers_tl.advising.candidates import FROZEN
from flowers_tl.advising.profile import profile
from flowers_tl.compare import main as compare
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.inference.evaluate import make_trainer
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs.read_record import read_mapping
from flowers_tl.training.factory import frozen_features, set_up_data
from flowers_tl.training.run_once import train_once
from flowers_tl.utils.errors import UserError

STRATEGIES = ["linear_probe", "from_scratch"]


@pytest.fixture(scope="module")
def words(tiny, resnet18_weights, tmp_path_factory):
    """What the command gets besides its folder."""
    runs = tmp_path_factory.mktemp("advised")
    data = {"data.num_classes": 3, "data.train_per_class": 10, "data.val_per_class": 10, "data.test_per_class": 10}
    keys = tiny(backbone__weights=resnet18_weights, runs=runs, trainer__max_epochs=2, **data)
    return [*keys, f"strategy={','.join(STRATEGIES)}"]


@pytest.fixture(scope="module")
def advised(words, tmp_path_factory):
    """A race that was interrupted in its third run, and then went on to its end."""
    out, made = tmp_path_factory.mktemp("advice") / "out", []

    def interrupted(config, folder, **options):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(folder)
        return train_once(config, folder, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowers_tl.advising.race.train_once", interrupted)
        with pytest.raises(SystemExit):
            main([*words, "budget=10m", f"out={out}"])
    kept = {folder: (folder / "result.json").read_bytes() for folder in made}
    main([*words, "budget=10m", f"out={out}"])
    assert len(kept) == 2
    # But for a test of what was chosen, the first two runs are as they were.
    for folder, before in kept.items():
        assert read_mapping(folder / "result.json")["val"] == json.loads(before)["val"]
        assert (folder / "history.csv").exists() == bool(json.loads(before)["epochs"])
    return out


def results(out):
    return {folder.name: read_mapping(folder / "result.json") for folder in sorted((out / "runs").iterdir())}


def test_a_race_runs_all_and_tests_what_it_advises(advised):
    advice = json.loads((advised / "advice.json").read_text())
    ran = results(advised)
    assert {name.rpartition("_seed")[0] for name in ran} == {*STRATEGIES}
    by_val = {one["name"]: np.mean(one["validation"]) for one in advice["candidates"] if not one["left"]}
    assert advice["use"] == max(by_val, key=by_val.get)
    assert all("test" in record for name, record in ran.items() if name.startswith(f"{advice['use']}_seed"))
    assert [one["stage"] for one in advice["stages"]] == ["stem", "layer1", "layer2", "layer3", "layer4", "neck"]
    assert sum(advice["spent_seconds"].values()) < advice["budget_seconds"]
    # The final command's own words, and the page.
    assert advice["command"].startswith(f"python -m flowers_tl.train strategy={advice['use']} ")
    page = (advised / "advice.html").read_text()
    assert f"Use {advice['use']}" in page
    assert page.count("<svg") == 2
    assert (advised / "report" / "report.html").is_file()


def test_the_depth_profile_is_of_the_pretrained_network_whatever_a_strategy_begins_from(advised, words, config):
    keys = [word for word in words if not word.startswith("strategy=")]
    one = with_preprocessing(config([*keys, *FROZEN]))
    scores = profile(frozen_features(one, set_up_data(one), make_trainer(one["trainer"])), one["backbone"]["name"])
    assert json.loads((advised / "advice.json").read_text())["stages"] == [asdict(score) for score in scores]


def test_val_decides_and_a_run_that_left_is_not_tested(advised):
    """Decisions read val predictions alone; what was neither chosen nor its rival has no test score."""
    advice = json.loads((advised / "advice.json").read_text())
    for one in advice["candidates"]:
        folders = [advised / "runs" / Path(run).name for run in one["runs"]]
        for folder, accuracy in zip(folders, one["validation"], strict=True):
            split = Predictions.read(folder).splits["val"]
            assert accuracy == pytest.approx((split.logits.argmax(1) == split.labels).mean())
        if one["left"].startswith("after"):
            assert not any("test" in read_mapping(folder / "result.json") for folder in folders)


def test_the_same_command_again_runs_nothing(advised, words, monkeypatch, capsys):
    monkeypatch.setattr("flowers_tl.training.run_once.train", lambda *_, **__: pytest.fail("a run was made again"))
    before = json.loads((advised / "advice.json").read_text())
    main([*words, "budget=10m", f"out={advised}"])
    assert json.loads((advised / "advice.json").read_text()) == before


def test_another_question_does_not_go_into_the_same_folder(advised, words, capsys):
    with pytest.raises(SystemExit):
        main([*words, "matters=3", f"out={advised}"])
    assert "or the advice on another question: use a new folder with out=DIR." in capsys.readouterr().err


@pytest.fixture
def copied(advised, tmp_path):
    """The folder of the finished race, to be changed."""
    return shutil.copytree(advised, tmp_path / "copied")


def test_images_that_have_changed_are_not_mixed_with_earlier_ones(copied, words, monkeypatch, capsys):
    monkeypatch.setattr(ImageDataModule, "split_fingerprints", lambda self: dict.fromkeys(self.sizes, "other"))
    with pytest.raises(SystemExit):
        main([*words, "budget=10m", f"out={copied}"])
    assert "The images or the weights have changed since the race in" in capsys.readouterr().err


def test_a_run_that_was_removed_is_made_and_tested_again(copied, words):
    before = json.loads((copied / "advice.json").read_text())
    shutil.rmtree(copied / "runs" / f"{before['use']}_seed1")
    main([*words, "budget=10m", f"out={copied}"])
    assert "test" in read_mapping(copied / "runs" / f"{before['use']}_seed1" / "result.json")
    after = json.loads((copied / "advice.json").read_text())
    assert after["headline"] == before["headline"]
    assert sum(after["spent_seconds"].values()) > sum(before["spent_seconds"].values())


def test_a_candidate_whose_run_fails_stays_with_the_seeds_that_it_has(words, advised, tmp_path, monkeypatch):
    best = json.loads((advised / "advice.json").read_text())["use"]

    def failing(config, folder, **options):
        if (config["strategy"]["name"], config["seed"]) == (best, 1):
            raise UserError("The run diverged.")
        return train_once(config, folder, **options)

    monkeypatch.setattr("flowers_tl.advising.race.train_once", failing)
    main([*words, "budget=10m", f"out={tmp_path / 'out'}"])
    advice = json.loads((tmp_path / "out" / "advice.json").read_text())
    assert advice["use"] == best
    assert f"{best} failed with seed 1: The run diverged." in advice["left_out"]


def test_a_damaged_record_is_named_and_without_it_finished_runs_are_found(copied, words, capsys, monkeypatch):
    for damaged in ("{", '{"question": 1, "spent": {"a": "b"}, "took": {}, "inputs": {}}', '{"took": 3}'):
        (copied / "race.json").write_text(damaged)
        with pytest.raises(SystemExit):
            main([*words, "budget=10m", f"out={copied}"])
        assert "race.json is damaged: remove it, and give the same command again" in capsys.readouterr().err
    (copied / "race.json").unlink()
    monkeypatch.setattr("flowers_tl.training.run_once.train", lambda *_, **__: pytest.fail("a run was made again"))
    main([*words, "budget=10m", f"out={copied}"])


def test_compare_takes_the_runs_of_a_race(advised, tmp_path, messages):
    compare([str(advised), f"out={tmp_path / 'compared'}"])
    assert (tmp_path / "compared" / "comparison.md").is_file()

"""A search proposes by its seed, goes on where it was stopped, and tries nothing twice."""

import json
import math
import statistics
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from flowers_tl.search import main
from flowers_tl.tuning import search as tuning_search
from flowers_tl.utils.errors import UserError

pytestmark = pytest.mark.skipif(
    not find_spec("optuna"), reason="needs Optuna: pip install '.[search]' in a checkout of the project"
)
RATE = "strategy.table.0.lr=tag(log,interval(1e-5,1e-1))"


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory):
    """The weights that a run begins from by default: random ones under their name, since nothing is downloaded here."""
    from torchvision.models import get_model, get_model_weights

    folder = tmp_path_factory.mktemp("weights")
    for name in ("resnet18", "resnet34"):
        file = get_model_weights(name).IMAGENET1K_V1.url.rpartition("/")[2]
        torch.save(get_model(name).state_dict(), folder / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERS_TL_WEIGHTS", str(folder))
        yield


@pytest.fixture
def fake(monkeypatch):
    """Trials of no time: val accuracy is best at a rate of 1e-3; a list of the configs that ran."""
    from flowers_tl.tuning import study

    ran = []

    def train(config, folder, callbacks=()):
        ran.append(config)
        rate = float(config["strategy"]["table"][0]["lr"])
        return {"val": {"accuracy": 1 - abs(math.log10(rate) + 3) / 5}}

    monkeypatch.setattr(study, "train", train)
    return ran


def chosen(study) -> list[list[str]]:
    """The settings of all trials that were not interrupted."""
    return [trial.user_attrs["chosen"] for trial in study.trials if trial.state.name == "COMPLETE"]


def search(folder, *overrides, **more):
    return tuning_search.search([*overrides], folder=folder, **more)


def test_the_same_seed_proposes_the_same_and_another_does_not(fake, tmp_path):
    one, again = (chosen(search(tmp_path / name, RATE, trials=6)) for name in "ab")
    assert one == again
    assert len({word for words in one for word in words}) == 6
    assert chosen(search(tmp_path / "c", RATE, trials=6, search_seed=1)) != one


def test_it_searches_where_it_is_good(fake, tmp_path):
    search(tmp_path / "a", RATE, trials=30)
    distances = [abs(math.log10(config["strategy"]["table"][0]["lr"]) + 3) for config in fake[10:]]
    assert statistics.median(distances) < 0.8  # of random proposals it is 1


def test_the_lowest_loss_is_the_best_and_what_judges_is_not_searched(monkeypatch, tmp_path):
    from flowers_tl.tuning import study

    monkeypatch.setattr(study, "train", lambda config, *_, **__: {"val": {"loss": config["optimizer"]["weight_decay"]}})
    result = search(tmp_path / "a", "optimizer.weight_decay=0.3,0.1,0.2", "monitor=val/loss", trials=3)
    assert result.best_trial.user_attrs["chosen"] == ["optimizer.weight_decay=0.1"]
    with pytest.raises(UserError, match="monitor can't be searched"):
        search(tmp_path / "b", "monitor=val/loss,val/accuracy", trials=2)


@pytest.mark.slow
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(fake, monkeypatch, tmp_path):
    from flowers_tl.tuning import study

    whole, train = chosen(search(tmp_path / "whole", RATE, trials=13)), study.train

    def interrupted(config, folder, callbacks=()):
        if folder.name == "011":
            raise KeyboardInterrupt
        return train(config, folder)

    monkeypatch.setattr(study, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "parts", RATE, trials=13)
    monkeypatch.setattr(study, "train", train)
    fake.clear()
    parts = search(tmp_path / "parts", RATE, trials=13)
    assert len(fake) == 2
    assert chosen(parts) == whole
    assert [trial.state.name for trial in parts.trials].count("FAIL") == 1


def test_more_trials_go_on_and_another_search_is_refused(fake, tmp_path):
    search(tmp_path / "a", RATE, trials=3)
    search(tmp_path / "a", RATE, trials=5)
    assert len(fake) == 5
    with pytest.raises(UserError, match="holds another search, or other files"):
        search(tmp_path / "a", RATE, "backbone=resnet34", trials=5)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("Dear")
    with pytest.raises(UserError, match="holds another search, or other files"):
        search(tmp_path / "b", RATE, trials=5)


def test_one_folder_is_searched_by_one_process(fake, monkeypatch, tmp_path):
    from flowers_tl.tuning import study

    def meanwhile(config, folder, callbacks=()):
        command = [sys.executable, "-m", "flowers_tl.search", RATE, f"folder={tmp_path / 'a'}"]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 1
        assert "Another process works on the search" in process.stderr
        return {"val": {"accuracy": 0.5}}

    monkeypatch.setattr(study, "train", meanwhile)
    search(tmp_path / "a", RATE, trials=1)


def test_few_combinations_are_each_tried_once(fake, tmp_path):
    study = search(tmp_path / "a", "strategy.table.0.lr=1e-2,1e-3", "seed=range(0,3)", trials=50)
    assert len(fake) == len(study.trials) == 6
    assert len({tuple(words) for words in chosen(study)}) == 6


def test_more_trials_try_each_combination_that_fewer_have_left_out(fake, tmp_path):
    space = ("strategy.table.0.lr=0.01,0.001", "seed=range(0,3)")
    for trials in (3, 20, 20):
        study = search(tmp_path / "a", *space, trials=trials)
    assert len(fake) == 6  # each once, whatever Optuna proposed when there were to be fewer
    every = {(f"strategy.table.0.lr={rate}", f"seed={seed}") for rate in (0.01, 0.001) for seed in range(3)}
    assert {tuple(words) for words in chosen(study)} == every


def test_a_range_of_floats_is_tried_to_its_end(fake, tmp_path):
    study = search(tmp_path / "a", "optimizer.weight_decay=range(0.1,0.35,0.1)", trials=20)
    assert [words[0].partition("=")[2] for words in chosen(study)] == ["0.1", "0.2", "0.3"]


def test_what_was_tried_is_not_run_again(fake, tmp_path):
    study = search(
        tmp_path / "a", "strategy.table.0.lr=interval(0.01,0.010001)", trials=3
    )  # four digits are one number
    assert [trial.user_attrs.get("same") for trial in study.trials] == [None, 0, 0]
    assert len({trial.value for trial in study.trials}) == len(fake) == 1


def test_a_trial_that_fails_is_told_and_the_search_goes_on(fake, monkeypatch, tmp_path, capsys):
    from flowers_tl.tuning import study

    train = study.train

    def failing(config, folder, callbacks=()):
        if config["seed"] == 1:
            raise UserError("One is bad.")
        return train(config, folder)

    monkeypatch.setattr(study, "train", failing)
    found = search(tmp_path / "a", "seed=0,1,2", trials=3)
    assert [trial.state.name for trial in found.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert capsys.readouterr().err == "Error: trial 1: seed=1: One is bad.\n"
    with pytest.raises(UserError, match=r"All 1 trials failed; the first: One is bad\."):
        search(tmp_path / "b", "seed=1,1", trials=3)


def test_no_trial_measures_test(fake, tmp_path):
    search(tmp_path / "a", RATE, trials=2)
    assert [config["trainer"]["limit_test_batches"] for config in fake] == [0, 0]


def test_a_search_is_known_by_the_name_that_version_0_1_gave_it(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["runs=r", RATE, "trials=1", "search_seed=3", "pruning=false"])
    (folder,) = tmp_path.glob("r/*")
    assert folder.name == "search_7e1da52e"
    overrides = ["runs=r", "strategy.table.0.lr=tag(log,interval(1e-5,1e-1))"]
    assert json.loads((folder / "search.json").read_text()) == {"overrides": overrides, "seed": 3, "pruning": False}
    assert capsys.readouterr().out.startswith(f"Search folder: r/{folder.name}\n")


@pytest.mark.parametrize("name", ["a?b", "50% {x} #1", "ü & =;"])
def test_all_of_a_search_lies_in_its_folder_whatever_its_name(fake, tmp_path, name):
    before = set(tmp_path.iterdir())
    search(tmp_path / name, RATE, trials=2)
    assert set(tmp_path.iterdir()) - before == {tmp_path / name}
    assert (tmp_path / name / "study.db").stat().st_size > 0
    assert len(chosen(search(tmp_path / name, RATE, trials=3))) == 3
    assert len(fake) == 3


@pytest.mark.parametrize(
    ("file", "content"),
    [("search.json", b'{"over'), ("search.json", b"\xff"), ("study.db", b"no database"), ("study.db", None)],
)
def test_a_damaged_file_of_a_search_is_named(fake, tmp_path, file, content):
    search(tmp_path / "a", RATE, trials=2)
    path = tmp_path / "a" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(UserError, match=rf"{file} .*folder=DIR"):
        search(tmp_path / "a", RATE, trials=3)

"""What a command hands to Hydra, and what it leaves behind."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from flowers_tl.cli.hydra_main import environment, how_to_resume, split_arguments, validate_words
from flowers_tl.utils.errors import UserError


def test_flags_stand_anywhere_and_keep_their_values():
    words = ["seed=0,1", "-m", "data=folder", "--config-dir", "mine", "--cfg", "job", "strategy=lp_ft"]
    flags, overrides = split_arguments(words)
    assert flags == ["-m", "--config-dir", "mine", "--cfg", "job"]
    assert overrides == ["seed=0,1", "data=folder", "strategy=lp_ft"]
    assert split_arguments(["seed=1", "--config-dir"]) == (["--config-dir"], ["seed=1"])


@pytest.mark.parametrize("word", ["~strategy", "strategy={}", "strategy=fine_tuning,{}"])
def test_a_word_that_leaves_a_key_without_a_value_is_refused_before_hydra_takes_the_default(word):
    with pytest.raises(UserError, match="leaves strategy without a value"):
        validate_words([], ["seed=1", word], ["seed=1", word])
    validate_words([], ["~hydra.callbacks.summary", "heads={lr: [1e-3]}"], [])


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "run"
    alone = OmegaConf.create({"job": {"num": "???"}, "run": {"dir": str(folder)}})
    assert how_to_resume(alone) == " before an epoch was finished; give the same command again"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    assert how_to_resume(alone).endswith("hydra.run.dir=outputs/run ckpt_path=last")
    monkeypatch.chdir(folder)
    assert how_to_resume(alone).endswith("hydra.run.dir=. ckpt_path=last")
    monkeypatch.chdir(Path(tmp_path.root))
    for of_a_sweep in (OmegaConf.merge(alone, {"job": {"num": 0}}), None):
        assert "; give the same command again to continue" in how_to_resume(of_a_sweep)


@pytest.mark.parametrize("before", [None, "earlier"])
@pytest.mark.parametrize("value", [None, "new"])
def test_a_variable_is_set_for_a_while_and_restored_after_an_error(before, value, monkeypatch):
    if before is None:
        monkeypatch.delenv("FLOWERS_TL_X", raising=False)
    else:
        monkeypatch.setenv("FLOWERS_TL_X", before)
    with suppress(KeyError), environment("FLOWERS_TL_X", value):
        assert os.environ.get("FLOWERS_TL_X") == value
        raise KeyError
    assert os.environ.get("FLOWERS_TL_X") == before

"""A race's folder belongs to one question, and what was spent is kept."""

import json
import time

import pytest

from flowers_tl.advising.race_record import RaceRecord
from flowers_tl.utils.errors import UserError

QUESTION = {"overrides": ["data=folder"], "strategies": ["fine_tuning"]}


@pytest.fixture
def raced(tmp_path):
    """The folder of a race that was stopped after 20 seconds."""
    with RaceRecord(tmp_path / "race", QUESTION) as race:
        race.inputs["resnet18"] = {"weights": "a"}
        race.took["run"] = {"fit": 3.0}
        race.count("profile", time.monotonic() - 20)
    return tmp_path / "race"


def test_the_same_question_goes_on_with_what_was_spent(raced):
    with RaceRecord(raced, QUESTION) as race:
        assert race.spent["profile"] == pytest.approx(20, abs=5)
        assert (race.inputs, race.took) == ({"resnet18": {"weights": "a"}}, {"run": {"fit": 3.0}})
        race.count("profile", time.monotonic() - 10)
    assert json.loads((raced / "race.json").read_text())["spent"]["profile"] == pytest.approx(30, abs=8)


def test_another_question_and_other_files_are_refused_and_stay(raced, tmp_path):
    before = (raced / "race.json").read_bytes()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for folder, question in ((raced, QUESTION | {"strategies": ["linear_probe"]}), (tmp_path / "photos", QUESTION)):
        with pytest.raises(UserError, match="use a new folder with out=DIR"):
            RaceRecord(folder, question).__enter__()
    assert (raced / "race.json").read_bytes() == before
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def test_a_question_that_was_refused_before_its_first_step_leaves_nothing(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "new" / "inner" / "race", tmp_path / "mine"):
        with pytest.raises(UserError, match="too small"), RaceRecord(folder, QUESTION):
            raise UserError("val is too small")
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
    with RaceRecord(tmp_path / "mine", QUESTION | {"strategies": ["linear_probe"]}) as race:
        race.count("profile", time.monotonic())
    with RaceRecord(tmp_path / "mine", QUESTION | {"strategies": ["linear_probe"]}):
        pass
    assert (tmp_path / "mine" / "race.json").is_file()


def test_two_processes_do_not_race_in_one_folder(raced):
    with RaceRecord(raced, QUESTION), pytest.raises(UserError, match="the race in"):
        RaceRecord(raced, QUESTION).__enter__()


@pytest.mark.parametrize("damaged", ["", "[]", '{"question": 1}', '{"question": 1, "spent": {"a": "b"}, "took": {}}'])
def test_a_damaged_record_is_told_and_stays(raced, damaged):
    (raced / "race.json").write_text(damaged)
    with pytest.raises(UserError, match="damaged: remove it"):
        RaceRecord(raced, QUESTION).__enter__()
    assert (raced / "race.json").read_text() == damaged

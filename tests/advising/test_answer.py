"""The answer of a race, on its pages and in the terminal."""

import json

import numpy as np
import pytest

from flowers_tl.advising.answer import write_answer
from flowers_tl.advising.candidates import list_backbones, list_candidates
from flowers_tl.advising.profile import StageScore
from flowers_tl.advising.race import Race


@pytest.fixture
def race(tmp_path, write):
    """A race of one strategy on two networks, three seeds each, of which the first network's are tested."""
    backbones = list_backbones("[{name: resnet18, weights: null}, {name: squeezenet1_1, weights: null}]")
    candidates, _ = list_candidates(["fine_tuning"], backbones, ["data=synthetic"])
    (tmp_path / "race").mkdir()
    race, draw = Race(tmp_path / "race", candidates, {"matters": 0.5}, 60.0), np.random.default_rng(0)
    for one, accuracy in zip(candidates, (0.9, 0.5), strict=True):
        for seed in range(3):
            folder = write(f"{one.network}/{seed}", seed=seed, backbone={"name": one.network})
            one.add(draw.random(200) < accuracy, folder, {"total": 10.0})
            one.tests[seed] = 0.8
    return race


def test_a_candidate_has_one_name_in_the_answer_and_in_the_report(race, capsys):
    advice = write_answer(race, [StageScore("resnet18", "stem", 64, 0.5, 0.4)], [])
    names = ["fine_tuning resnet18", "fine_tuning squeezenet1_1"]
    assert (advice["use"], [one["name"] for one in advice["candidates"]]) == (names[0], names)
    assert json.loads((race.folder / "advice.json").read_text())["better"] == advice["better"]
    assert "fine_tuning resnet18 is better than fine_tuning squeezenet1_1" in capsys.readouterr().out
    for file in ("report/report.md", "report/report.html", "advice.html"):
        text = (race.folder / file).read_text()
        assert all(name in text for name in names), file
        assert "backbone.name=" not in text


def test_what_would_decide_is_computed_once_for_a_pair(race, monkeypatch):
    asked = []
    monkeypatch.setattr("flowers_tl.advising.race.seeds_to_decide", lambda *pair: asked.append(pair) or 2)
    other = race.candidates[1]
    assert [race.seeds_to_decide(other), race.seeds_to_decide(other), len(asked)] == [2, 2, 1]
    # After another round it is another question, and one seed says nothing.
    race.candidates[0].hits, other.hits = race.candidates[0].hits[:2], other.hits[:2]
    assert [race.seeds_to_decide(other), len(asked)] == [2, 2]
    other.hits = other.hits[:1]
    assert [race.seeds_to_decide(other), len(asked)] == [None, 2]

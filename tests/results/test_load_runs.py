"""A comparison says what the runs say: right means, right groups, and a word on every run that is left out."""

import pytest

from flowers_tl.config.keys import LATER_KEYS
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.terminal_tables import comparison_table
from flowers_tl.utils.errors import UserError


def rows(*folders):
    return comparison_table(group_runs(find_runs(folders)[0])[0])[1]


def test_where_files_lie_does_not_separate_runs(write):
    assert len(rows(write("a", seed=0), write("b", seed=1))) == 1


def test_a_seed_that_was_run_twice_counts_once(write):
    runs, _ = find_runs([write("older", val=0.1), write("newer", val=0.9)])
    groups, notes = group_runs(runs)
    assert groups[0].values("val", "accuracy").tolist() == [0.9]
    assert "older is left out" in notes[0]


def test_a_run_named_twice_is_read_once(write, tmp_path):
    folder = write("sweep/a")
    assert len(find_runs([folder, tmp_path / "sweep"])[0]) == 1


def test_weights_are_told_where_they_are_a_choice(write, tmp_path):
    """Not of from_scratch, which has none by nature, and which counts as one setting whatever file is named."""
    for seed, file in enumerate(("a.pth", "b.pth")):
        write(f"scratch{seed}", "scratch", seed, fingerprint="random", backbone={"weights": file})
    write("fine", "fine", fingerprint="1f", backbone={"weights": "a.pth"})
    groups, _ = group_runs(find_runs([tmp_path])[0])
    assert {group.label: len(group.runs) for group in groups} == {"scratch": 2, "fine": 1}
    write("other", "fine", fingerprint="2e", backbone={"weights": "b.pth"})
    groups, _ = group_runs(find_runs([tmp_path])[0])
    assert {g.label for g in groups} == {"scratch", "fine backbone.weights=a.pth@1f", "fine backbone.weights=b.pth@2e"}


def test_unfinished_and_broken_runs_are_left_out_with_a_word(write, tmp_path):
    write("good")
    write("bad", status="failed")
    (write("ugly") / "config.yaml").write_text("{")
    runs, notes = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert len(notes) == 2
    assert "its status is 'failed'" in " ".join(notes)
    assert "can't be read" in " ".join(notes)


@pytest.mark.parametrize("accuracy", [5.0, -0.1])
def test_a_run_with_an_accuracy_that_is_none_is_left_out(write, tmp_path, accuracy):
    write("good")
    write("edited", val=accuracy)
    runs, notes = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert "result.json has a score that is not within 0 and 1" in notes[0]


@pytest.mark.parametrize("file", ["result.json", "config.yaml", "history.csv"])
@pytest.mark.parametrize("content", ["", "null", "[]", '"x"', "{}", "epoch,val/loss\n"])
def test_a_damaged_run_does_not_take_the_others_with_it(write, tmp_path, file, content):
    write("good")
    (write("ugly") / file).write_text(content)
    runs, notes = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert "ugly is left out: its files can't be read" in notes[0]


def test_nothing_to_compare_is_an_error(write, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"is not a folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"None of these runs is finished.*'running'"):
        find_runs([write("a", status="running")])


def test_a_config_that_was_written_before_a_key_existed_has_it_at_its_default(write, tmp_path, monkeypatch):
    write("before", seed=0)
    write("same", seed=1, compute={"new": 4})
    write("other", seed=2, compute={"new": 5})
    assert [group.label for group in group_runs(find_runs([tmp_path])[0])[0]] == [
        "fine_tuning",
        "fine_tuning compute.new=4",
        "fine_tuning compute.new=5",
    ]
    monkeypatch.setitem(LATER_KEYS, "compute.new", 4)
    groups = group_runs(find_runs([tmp_path])[0])[0]
    assert {group.label: len(group.runs) for group in groups} == {
        "fine_tuning compute.new=4": 2,
        "fine_tuning compute.new=5": 1,
    }

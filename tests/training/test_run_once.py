"""A run is made once: finished ones are not run again, interrupted ones go on, and two processes never do the same."""

import json

import lightning as L
import numpy as np
import pytest
import torch

from flowers_tl.results.load_runs import find_runs
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs.read_record import ELSEWHERE
from flowers_tl.runs.record import RunFolder, run_files
from flowers_tl.runs.registry import has_no_epoch
from flowers_tl.training.factory import set_up_data
from flowers_tl.training.run import train
from flowers_tl.training.run_once import train_once
from flowers_tl.utils.errors import UserError


@pytest.fixture
def once(config, tiny, tmp_path):
    """Make a run in tmp_path/NAME, once among all in tmp_path."""

    def run(name, beside=(), on_resume=lambda folder: None, **more):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)  # as Hydra does
        return train_once(config(tiny(runs=tmp_path, **more)), folder, (), beside, on_resume)

    return run


class Stop(Exception):
    """What stops a run in these tests."""


def stopped(config, tiny, folder, after):
    """A run that was stopped after so many epochs: when the last of them is kept, or before the first begins."""
    save, fit = L.Trainer.save_checkpoint, L.Trainer.fit

    def stop_after(self, path, *arguments, **more):
        save(self, path, *arguments, **more)
        if self.current_epoch + 1 >= after and str(path).endswith("last.ckpt"):
            raise Stop

    def stop_before(self, *arguments, **more):
        raise Stop

    L.Trainer.save_checkpoint, L.Trainer.fit = (stop_after, fit) if after else (save, stop_before)
    try:
        with pytest.raises(Stop):
            train(config(tiny(runs=folder.parent)), folder)
    finally:
        L.Trainer.save_checkpoint, L.Trainer.fit = save, fit


def test_what_is_finished_is_not_run_again(once, tmp_path, capsys):
    first = once("first")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "first").rglob("*")}
    assert once("second") == first
    assert f"Finished already: {tmp_path / 'first'}" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "first").rglob("*")} == before
    assert [file.name for file in (tmp_path / "second").iterdir()] == [ELSEWHERE]
    # So the second sweep's folder still tells of all its runs, also after both have been moved together.
    (tmp_path / "first").rename(tmp_path / "sub")
    (tmp_path / "sub").rename(tmp_path / "first")
    runs, _ = find_runs([tmp_path / "second"])
    assert [run.folder.resolve() for run in runs] == [(tmp_path / "first").resolve()]


def test_data_are_set_up_once_and_the_time_of_it_is_the_runs(config, tiny, photos, tmp_path, monkeypatch):
    made = []

    def slowly(config, prepare):
        made.append(set_up_data(config))
        assert made[0].clock.seconds["decode"] > 0  # it has been found out which images can be read
        made[0].clock.seconds["decode"] += 100
        return made[0]

    monkeypatch.setattr("flowers_tl.training.validate.set_up_data", slowly)
    words = [word for word in tiny(runs=tmp_path, cache__dir=tmp_path / "cache") if not word.startswith("data")]
    words += ["data=folder", f"data.root={photos({'a': 8, 'b': 8})}", "data.image_size=32"]
    result = train_once(config(words), tmp_path / "run")
    assert len(made) == 1
    assert result["seconds"]["decode"] >= 100


def test_other_settings_are_another_run(once, tmp_path):
    once("first")
    once("second", seed=1)
    assert (tmp_path / "second" / "result.json").is_file()


def test_force_runs_anew(once, tmp_path):
    once("first")
    once("second", force="true")
    assert json.loads((tmp_path / "second" / "result.json").read_text())["status"] == "finished"


def test_what_was_interrupted_goes_on_in_its_folder(once, config, tiny, tmp_path, capsys, monkeypatch):
    stopped(config, tiny, tmp_path / "first", after=1)
    folders, made = [], []
    with monkeypatch.context() as patched:
        patched.setattr(
            "flowers_tl.training.validate.set_up_data", lambda config, prepare: made.append(1) or set_up_data(config)
        )
        result = once("second", on_resume=folders.append)
    assert len(made) == 1
    assert "Continuing the run in" in capsys.readouterr().out
    assert folders == [tmp_path / "first"]
    assert result["status"] == json.loads((tmp_path / "first" / "result.json").read_text())["status"] == "finished"
    whole = train(config(tiny(runs=tmp_path)), tmp_path / "whole")
    assert [result[key] for key in ("val", "test", "id")] == [whole[key] for key in ("val", "test", "id")]


def test_what_was_stopped_in_its_first_epoch_begins_anew(once, config, tiny, tmp_path, capsys):
    stopped(config, tiny, tmp_path / "first", after=0)
    (tmp_path / "first" / "notes.txt").write_text("mine")
    result = once("first")  # the same folder, as when a sweep's folder is named
    assert "from the beginning" in capsys.readouterr().out
    assert result["status"] == "finished"
    assert (tmp_path / "first" / "notes.txt").read_text() == "mine"


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_only_what_the_stopped_run_wrote_is_removed(once, config, tiny, tmp_path):
    stopped(config, tiny, tmp_path / "first", after=0)
    (tmp_path / "first" / "checkpoints").mkdir(exist_ok=True)
    for name in ("config.yaml.bak", "checkpoints/mine.ckpt", "result.json.txt", "other/config.yaml", "other/mine.txt"):
        (tmp_path / "first" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "first" / name).write_text("mine")
    once("first/run", seed=1)
    stopped(config, lambda **more: tiny(seed=2, **more), tmp_path / "first" / "interrupted", after=1)
    everything = contents(tmp_path / "first")
    before = {file: text for file, text in everything.items() if file.parent != tmp_path / "first" or text == b"mine"}
    assert once("first")["status"] == "finished"
    after = contents(tmp_path / "first")
    assert {file: after.get(file) for file in before} == before


def test_a_file_of_the_users_own_is_no_run_that_was_stopped(once, tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.yaml").write_text("strategy: mine\n")
    with pytest.raises(UserError, match=r"holds a run already"):
        once("project")
    (tmp_path / "project" / "result.json").write_text('{"status": "failed"}')
    with pytest.raises(UserError, match=r"holds a run already"):
        once("project")
    assert (tmp_path / "project" / "config.yaml").read_text() == "strategy: mine\n"
    assert (tmp_path / "project" / "result.json").read_text() == '{"status": "failed"}'


def test_a_run_killed_while_it_writes_its_first_files_begins_anew(once, config, tiny, tmp_path, capsys):
    stopped(config, tiny, tmp_path / "first", after=0)
    (tmp_path / "first" / "result.json").unlink()
    assert once("first")["status"] == "finished"
    assert "from the beginning" in capsys.readouterr().out


@pytest.mark.parametrize("written", [0, 100, None])
def test_a_run_killed_within_its_first_file_begins_anew(once, config, tiny, tmp_path, written):
    stopped(config, tiny, tmp_path / "first", after=0)
    (tmp_path / "first" / "result.json").unlink()
    whole = tmp_path / "first" / "config.yaml"
    (tmp_path / "first" / "config.yaml.new").write_text(whole.read_text()[:written])
    whole.unlink()
    assert once("first")["status"] == "finished"


def test_a_half_written_file_of_another_run_stays(once, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.yaml.new").write_text("strategy: mine\n")
    with pytest.raises(UserError, match=r"holds config\.yaml\.new already"):
        once("first")


def test_removing_may_be_killed_at_any_file(config, tiny, tmp_path):
    stopped(config, tiny, tmp_path / "first", after=0)
    (tmp_path / "first" / "events.out.tfevents.1").touch()
    files = run_files(tmp_path / "first")
    assert [file.name for file in files] == ["events.out.tfevents.1", "config.yaml", "result.json"]
    for file in files[:-1]:
        file.unlink()
        assert has_no_epoch(tmp_path / "first", {})
        with pytest.raises(UserError, match="already"), RunFolder(tmp_path / "first", ""):
            pass


@pytest.mark.parametrize("left", [["config.yaml"], ["config.yaml", "result.json"]])
def test_a_head_killed_while_its_first_files_were_written_is_made_again(once, tmp_path, left):
    once("whole", heads__lr="[0.001,0.01]")
    (head, *_) = sorted(file.parent for file in (tmp_path / "whole").glob("*/head.pt"))
    record = json.loads((tmp_path / "whole" / "result.json").read_text())
    (tmp_path / "whole" / "result.json").write_text(json.dumps(record | {"status": "running"}))
    for file in [file for file in head.iterdir() if file.name not in left]:
        file.unlink()
    if "result.json" in left:
        (head / "result.json").write_text('{"status": "running", "seconds": {}}')
    assert once("whole", heads__lr="[0.001,0.01]")["status"] == "finished"
    assert (head / "head.pt").is_file()


def test_heads_that_were_finished_stay_and_half_written_ones_are_made_again(once, tmp_path, monkeypatch, capsys):
    whole = once("whole", heads__lr="[0.001,0.01,0.02]")
    save, saved = torch.save, []

    def stop_at_the_second(content, file, *arguments, **more):
        saved.append(file)
        if len(saved) == 2:
            raise Stop
        save(content, file, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", stop_at_the_second)
        with pytest.raises(Stop):
            once("first", heads__lr="[0.001,0.01,0.02]", force="true")
    first, second, third = (tmp_path / "first" / f"lr={lr},seed=0" for lr in ("0.001", "0.01", "0.02"))
    assert not third.exists()
    once("first/lr=0.02", seed=1)  # beside the heads, and finished
    (second / "notes.txt").write_text("mine")
    before = contents(first) | contents(tmp_path / "first" / "lr=0.02")
    result = once("first", heads__lr="[0.001,0.01,0.02]", force="true")
    assert "from the beginning" in capsys.readouterr().out
    assert {file: content for file, content in contents(tmp_path / "first").items() if file in before} == before
    assert (second / "notes.txt").read_text() == "mine"
    assert [result[key] for key in ("heads", "best_head", "val")] == [
        whole[key] for key in ("heads", "best_head", "val")
    ]
    for head in (first, second, third):
        own, other = (
            json.loads((folder / head.name / "result.json").read_text()) for folder in (head.parent, tmp_path / "whole")
        )
        assert [own[key] for key in ("status", "val", "test")] == [other[key] for key in ("status", "val", "test")]


def test_a_run_where_a_head_would_be_recorded_is_refused_before_anything_is_trained(once, tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    once("first/lr=0.001,seed=0", seed=1)
    before = contents(tmp_path / "first")
    monkeypatch.setattr("flowers_tl.training.head_grid.make_trainer", lambda *_: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"lr=0.001,seed=0 holds a run already"):
        once("first", heads__lr="[0.001,0.01]")
    assert {file: content for file, content in contents(tmp_path / "first").items() if file in before} == before


def test_a_note_on_a_run_elsewhere_hides_no_other_run(once, tmp_path):
    once("first")
    once("second", seed=1)
    once("second")  # is finished, in the folder first
    assert not (tmp_path / "second" / ELSEWHERE).exists()
    assert [run.result["seed"] for run in find_runs([tmp_path / "second"])[0]] == [1]


@pytest.mark.parametrize(("name", "value"), [("LOCAL_RANK", "0"), ("SLURM_NTASKS", "2")])
def test_processes_that_make_a_run_together_do_not_wait_for_one_another(once, tmp_path, monkeypatch, name, value):
    once("first")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("flowers_tl.training.run_once.train", lambda config, folder, given, tested: "made")
    assert once("second") == "made"


def test_a_sweeps_own_folder_may_be_used_again_after_a_job_failed(once, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("flowers_tl.training.run.fit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            once("job")
    assert once("job")["status"] == "finished"
    assert "from the beginning" in capsys.readouterr().out


def test_a_finished_run_is_never_swept_away(once, tmp_path):
    once("job")
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir"):
        once("job", seed=1)
    assert json.loads((tmp_path / "job" / "result.json").read_text())["seed"] == 0


def test_a_damaged_checkpoint_is_not_gone_on_from(once, config, tiny, tmp_path, capsys):
    stopped(config, tiny, tmp_path / "first", after=1)
    (tmp_path / "first" / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged: remove"):
        once("first")
    assert once("second")["status"] == "finished"
    assert "is damaged" in capsys.readouterr().out
    assert (tmp_path / "second" / "result.json").is_file()
    assert once("third")["status"] == "finished"
    assert "Finished already" in capsys.readouterr().out


def test_many_heads_are_made_once(once, tmp_path, capsys):
    first = once("first", heads__lr="[0.001,0.01]")
    assert once("second", heads__lr="[0.001,0.01]") == first
    assert "Finished already" in capsys.readouterr().out
    for folder in (tmp_path, tmp_path / "second"):
        assert len(find_runs([folder])[0]) == 2


def test_a_run_that_is_gone_is_missed(once, tmp_path):
    once("first")
    once("second")
    once("second_too", seed=1)
    (tmp_path / "first").rename(tmp_path.parent / f"{tmp_path.name}_moved")
    runs, notes = find_runs([tmp_path])
    assert [run.result["seed"] for run in runs] == [1]
    assert any("which is not there any more" in note for note in notes)
    with pytest.raises(UserError, match="not there any more"):
        find_runs([tmp_path / "second"])


def test_a_run_that_failed_on_bad_input_leaves_no_trace_of_being_done(once, tmp_path):
    with pytest.raises(UserError, match="bogus"):
        once("first", backbone__weights="bogus.pth")
    with pytest.raises(UserError, match="bogus"):
        once("second", backbone__weights="bogus.pth")


def test_a_run_that_ends_before_its_test_is_completed_to_the_same_bits(config, tiny, tmp_path):
    for strategy in ("fine_tuning", "linear_probe"):
        one = config(tiny(strategy=strategy, runs=tmp_path / strategy))
        whole = train(one, tmp_path / strategy / "whole")
        early = train_once(
            one | {"runs": str(tmp_path / strategy / "early")}, tmp_path / strategy / "early" / "run", tested=False
        )
        assert early["status"] == "untested"
        assert "test" not in early
        early_val = Predictions.read(tmp_path / strategy / "early" / "run").splits["val"].logits
        # Asked again, nothing is done; asked for its test, only that is.
        assert train_once(one | {"runs": str(tmp_path / strategy / "early")}, tmp_path / "other", tested=False) == early
        later = train_once(one | {"runs": str(tmp_path / strategy / "early")}, tmp_path / strategy / "early" / "run")
        assert later["status"] == "finished"
        assert (later["val"], later["test"]) == (whole["val"], whole["test"])
        both = [Predictions.read(tmp_path / strategy / name).splits for name in ("whole", "early/run")]
        for split in ("val", "test"):
            assert np.array_equal(both[0][split].logits, both[1][split].logits)
        assert np.array_equal(early_val, both[0]["val"].logits)

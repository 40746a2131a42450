"""A run's folder tells how the run ended, whatever happened, and an earlier run's files are never touched."""

import json
import time

import pytest

from flowers_tl.runs.record import RunFolder, versions
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.phase_timer import PHASES


def result(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_a_run_that_ends_well_is_finished(tmp_path):
    with RunFolder(tmp_path / "run", "seed: 3\n") as run:
        assert result(run.folder)["status"] == "running"
        with run.clock.timed("fit"):
            pass
        run.update({"val": {"accuracy": 0.5}})
        assert result(run.folder)["val"] == {"accuracy": 0.5}
    found = result(run.folder)
    assert found["status"] == "finished"
    assert set(found["seconds"]) == {*PHASES, "total", "cold"}
    assert (run.folder / "config.yaml").read_text() == "seed: 3\n"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("bad lr"), "failed", "bad lr"),
        (KeyError(), "failed", "KeyError"),
        (SystemExit(1), "interrupted", None),
    ],
)
def test_a_run_that_ends_badly_says_how(tmp_path, error, status, told):
    with pytest.raises(type(error)), RunFolder(tmp_path, ""):
        raise error
    assert result(tmp_path)["status"] == status
    assert result(tmp_path).get("error") == told


def test_a_folder_with_a_run_in_it_is_refused_and_left_alone(tmp_path):
    with RunFolder(tmp_path, "first") as run:
        run.append_history({"epoch": 0, "loss": 1.0})
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    with (
        pytest.raises(UserError, match=r"holds a run already: use another hydra.run.dir"),
        RunFolder(tmp_path, "second"),
    ):
        pass
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "name", ["result.json", "history.csv", "checkpoints/best.ckpt", "predictions.npz", "config.yaml.new"]
)
def test_a_file_that_a_run_would_overwrite_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"holds {name} already: use another hydra.run.dir"), RunFolder(tmp_path, ""):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_helper_processes_write_nothing(tmp_path):
    with RunFolder(tmp_path / "run", "", record=False) as run:
        run.append_history({"epoch": 0})
        run.update({"val": 1})
    assert not (tmp_path / "run").exists()


def test_history_has_one_header_and_a_row_an_epoch(tmp_path):
    with RunFolder(tmp_path, "") as run:
        for epoch in range(3):
            run.append_history({"epoch": epoch, "val/loss": 0.5})
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,val/loss", "0,0.5", "1,0.5", "2,0.5"]


def test_an_epoch_without_validation_leaves_cells_empty(tmp_path):
    with RunFolder(tmp_path, "") as run:
        run.append_history({"epoch": 0, "train/loss": 2.0})
        run.append_history({"epoch": 1, "train/loss": 1.0, "val/loss": 0.5})
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,train/loss,val/loss", "0,2.0,", "1,1.0,0.5"]


def test_versions_name_what_a_result_depends_on():
    assert {"python", "torch", "torchvision", "lightning", "flowers_tl"} <= set(versions())


def test_a_phase_within_a_phase_is_counted_once(tmp_path):
    with RunFolder(tmp_path / "run", "") as run, run.clock.timed("fit"):
        time.sleep(0.05)
        with run.clock.timed("decode"):
            time.sleep(0.2)
        between = run.clock.elapsed("fit")
    seconds = result(run.folder)["seconds"]
    assert 0.05 <= between < 0.2 <= seconds["decode"]
    assert seconds["fit"] < 0.2
    assert seconds["total"] == pytest.approx(sum(seconds[phase] for phase in PHASES), abs=0.05)


def test_a_run_that_goes_on_counts_what_it_took_before(tmp_path):
    with RunFolder(tmp_path, "") as run:
        run.clock.seconds |= {"prefix": 30.0, "fit": 50.0}
        for epoch, seconds in enumerate((40.0, 48.0)):
            run.append_history({"epoch": epoch, "step": epoch + 1, "seconds": seconds})
        run.update({})
        assert result(tmp_path)["seconds"]["prefix"] == 30  # known if it is killed now
    with RunFolder(tmp_path, "", continues=tmp_path, first_epoch=1) as run:
        pass  # the first epoch's 40 s; what came after is lost
    seconds = result(tmp_path)["seconds"]
    assert (seconds["prefix"], seconds["fit"]) == (30, 40)
    assert seconds["total"] == pytest.approx(70, abs=1)


def test_a_run_that_an_earlier_version_began_has_no_cold_seconds(tmp_path):
    with RunFolder(tmp_path, "") as run:
        run.clock.use({"images": 5.0})
    earlier = result(tmp_path)
    assert earlier["seconds"]["cold"] >= 5
    (tmp_path / "result.json").write_text(json.dumps({key: earlier[key] for key in ("status", "seconds")}))
    for _ in range(2):
        with RunFolder(tmp_path, "", continues=tmp_path):
            pass
        assert "cold" not in result(tmp_path)["seconds"]

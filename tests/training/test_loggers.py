"""Who gets the curves of a run: what each logger is given, and that runs of one process stay apart."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import Logger

from flowers_tl.runs.record import run_files
from flowers_tl.training import loggers
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


class Notes(Logger):
    """A logger through Lightning's public interface, as Lightning's own are."""

    name = version = "notes"

    def __init__(self):
        super().__init__()
        self.rows, self.values, self.ended = [], {}, []

    def log_metrics(self, metrics, step=None):
        self.rows.append(dict(metrics))

    def log_hyperparams(self, params, *_, **__):
        self.values |= dict(params)

    def finalize(self, status):
        self.ended.append(status)


def test_all_loggers_get_the_same_names_hyper_parameters_and_final_scores(tiny, config, tmp_path, monkeypatch):
    notes = Notes()
    monkeypatch.setitem(loggers.LOGGERS, "notes", (None, lambda *_: notes))
    result = train(config(tiny(logger="tensorboard+csv+notes")), tmp_path / "run")
    with open(tmp_path / "run" / "csv" / "version_0" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for split in ("val", "test"):
        for name, value in result[split].items():
            assert float(rows[-1][f"result/{split}_{name}"]) == notes.rows[-1][f"result/{split}_{name}"] == value
    with open(tmp_path / "run" / "history.csv") as file:
        history = list(csv.DictReader(file))
    for name in history[-1].keys() - {"epoch", "step", "seconds"}:
        shown = [float(row[name]) for row in rows if row.get(name)]
        assert shown == pytest.approx([float(row[name]) for row in history], rel=1e-5, abs=2e-6), name
        assert name in {key for row in notes.rows for key in row}
    assert notes.values["run_id"] == result["id"]
    assert notes.values["weight_decay"] == 0
    assert "epochs" not in notes.values
    assert notes.ended[-1] == "success"
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert {file.name for file in run_files(tmp_path / "run")} >= {"metrics.csv", "hparams.yaml"}


def test_without_a_logger_the_record_is_whole_and_the_run_the_same(tiny, config, tmp_path, run_folder):
    result = train(config(tiny(strategy="fine_tuning", logger="none")), tmp_path / "run")
    known = json.loads((run_folder / "result.json").read_text())
    assert [result[key] for key in ("id", "val", "test")] == [known[key] for key in ("id", "val", "test")]
    assert not [file for file in (tmp_path / "run").iterdir() if "tfevents" in file.name or file.name == "csv"]
    assert (tmp_path / "run" / "predictions.npz").is_file()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_is_a_sentence_that_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"logger={name} needs {name}: pip install '\.\[{name}\]'"):
        loggers.logger_names(f"csv+{name}")


def test_an_unknown_logger_is_a_sentence_with_the_nearest():
    with pytest.raises(UserError, match=r"logger=tensorbord is unknown.*tensorboard"):
        loggers.logger_names("csv+tensorbord")


def test_what_a_run_opened_is_closed_even_if_it_fails(monkeypatch):
    """Otherwise the next run of a sweep would be written into it."""
    closed = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=lambda: closed.append("wandb")))
    with pytest.raises(ValueError, match="so"), loggers.finish_loggers():
        raise ValueError("so")
    assert closed == ["wandb"]


def test_a_run_that_goes_on_has_its_number_and_a_repeated_one_another(tmp_path, monkeypatch):
    numbers = []
    monkeypatch.setitem(loggers.LOGGERS, "notes", (None, lambda *to: numbers.append(to[3]) or Notes()))
    config = {"strategy": {"name": "a"}, "seed": 0, "runs": str(tmp_path), "logger": "notes"}
    for place in ("one", "one", "two"):
        loggers.make_loggers(config, SimpleNamespace(result={"id": "0" * 12}, folder=tmp_path / place))
    assert numbers[0] == numbers[1] != numbers[2]

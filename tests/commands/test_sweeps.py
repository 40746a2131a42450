"""A sweep that is killed again and again ends as one that never was; and the sweeps in conf/sweep/ run."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flowers_tl.config.schema import CONF

# A sweep as a user starts it, but that it notes each epoch that it trains, and kills itself at the asked moment.
KILLABLE = """
import os, signal, sys
from pathlib import Path
import torch
from flowers_tl.models.classifier import TransferClassifier

notes, moment = Path(sys.argv.pop(1)), sys.argv.pop(1)
begin, save = TransferClassifier.on_train_epoch_start, torch.save

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def noting(self):
    with open(notes, "a") as file:
        file.write(f"{self.trainer.default_root_dir}\\t{self.current_epoch}\\n")
    if moment == "unfreezing" and self.hparams.strategy["name"] == "gradual_unfreezing" and self.current_epoch == 3:
        kill()
    begin(self)

def half(content, path):
    save(content, path)
    if moment == "checkpoint" and "last.ckpt" in str(path) and len(notes.read_text().splitlines()) > 3:
        os.truncate(path, os.path.getsize(path) // 2)
        kill()

TransferClassifier.on_train_epoch_start, torch.save = noting, half
from flowers_tl.train import main
main()
"""
EPOCHS = 7


@pytest.fixture
def sweep(tiny, tmp_path):
    """Start a sweep of eight runs in tmp_path/NAME; return the process."""

    def start(name, moment="never"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        strategies = "strategy=feature_extraction,fine_tuning,gradual_unfreezing,full_fine_tuning"
        told = [word for word in tiny(trainer__max_epochs=EPOCHS) if not word.startswith("strategy")]
        command = [sys.executable, "-c", KILLABLE, str(folder / "epochs"), moment, "-m", *told, strategies, "seed=0,1"]
        environment = {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )

    return start


def results(folder: Path) -> dict[str, dict]:
    """Scores and history by run's id."""
    found = {}
    for file in folder.rglob("result.json"):
        result = json.loads(file.read_text())
        with open(file.with_name("history.csv"), newline="") as text:
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(text)]
        found.setdefault(result["id"], []).append(
            {key: result[key] for key in ("status", "val", "test")} | {"rows": rows}
        )
    return found


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_as_one_that_never_was(sweep, tmp_path):
    whole = sweep("whole")
    began = time.time()
    _, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    length = time.time() - began

    moments = random.Random(5)
    kills, printed = 0, ""
    for moment in ("checkpoint", "unfreezing", "random", "random", "random"):
        process = sweep("killed", moment)
        if moment == "random":
            notes = (tmp_path / "killed" / "epochs").read_text().count("\n")
            while (tmp_path / "killed" / "epochs").read_text().count("\n") <= notes and process.poll() is None:
                time.sleep(0.01)  # it is at work
            time.sleep(moments.uniform(0, length / 12))
            process.send_signal(signal.SIGKILL)
        printed += process.communicate(timeout=300)[0]
        assert process.returncode == -signal.SIGKILL, f"it ended before it was killed ({moment})"
        kills += 1
    last = sweep("killed")
    more, errors = last.communicate(timeout=300)
    printed += more
    assert last.returncode == 0, errors
    assert "Finished already" in printed
    assert "Continuing the run in" in printed

    wanted, found = results(tmp_path / "whole"), results(tmp_path / "killed")
    assert len(wanted) == 8
    assert found == wanted
    trained = Counter((tmp_path / "killed" / "epochs").read_text().splitlines())
    assert 8 * EPOCHS <= trained.total() <= 8 * EPOCHS + kills


SMALL = {
    "strategies": (8, {"seed": 0, "trainer.max_epochs": 7}),
    "learning_rates": (10, {"seed": "0,1"}),
    "unfreeze_depth": (5, {"seed": 0}),
    "data_size": (8, {"seed": 0}),
}


def test_every_sweep_is_tested():
    assert sorted(SMALL) == sorted(file.stem for file in (CONF / "sweep").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_sweep_runs(run_command, tiny, tmp_path, name):
    count, more = SMALL[name]
    done = run_command(
        "train", f"sweep={name}", *tiny(data__train_per_class=10, **{"trainer.max_epochs": 1} | more), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(file.read_text()) for file in tmp_path.rglob("result.json")]
    assert len(runs) == count == len({run["id"] for run in runs})
    assert {run["status"] for run in runs} == {"finished"}
    compared = run_command("compare", str(next((tmp_path / "outputs").glob("*/*_sweep"))), cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    if name == "data_size":
        assert sorted(run["data"]["train"] for run in runs) == [3, 3, 6, 6, 15, 15, 30, 30]
    if name == "unfreeze_depth":
        trainable = [run["parameters"]["trainable"] for run in runs]
        assert len(set(trainable)) == 5
        assert max(trainable) == runs[0]["parameters"]["total"]


@pytest.mark.slow
def test_a_sweep_is_trained_longer_and_one_with_nothing_to_continue_ends_before_its_first_job(
    run_command, tiny, tmp_path
):
    sweep = ["-m", *tiny(), "seed=0,1", "hydra.sweep.dir=sweep", "runs=sweep"]
    refused = run_command("train", *sweep, "ckpt_path=last", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ckpt_path=last finds no checkpoint below the sweep's folder sweep:")
    assert not list(tmp_path.iterdir())
    assert run_command("train", *sweep, "trainer.max_epochs=1", cwd=tmp_path).returncode == 0
    longer = run_command("train", *sweep, "trainer.max_epochs=3", "ckpt_path=last", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    runs = [json.loads(file.read_text()) for file in sorted(tmp_path.rglob("result.json"))]
    assert [(run["seed"], run["epochs"]) for run in runs] == [(0, 3), (1, 3)]

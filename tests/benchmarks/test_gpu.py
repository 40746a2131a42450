"""The script for a GPU machine works from its first line to its last: rehearsed on a CPU with drawn flowers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import GpuBench, GpuOptions, extend

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_rehearsal_measures_all_and_goes_on_where_it_was_stopped(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "WHEELS": str(tmp_path / "none"), "OMP_NUM_THREADS": "2"}
    # The script is a user's: it sees no variable of this test run.
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST")}
    command = [ROOT / "benchmarks" / "gpu.sh", "--rehearse", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "gpu_tests.txt").read_text()[-3000:]
    kept = json.loads((tmp_path / "gpu.json").read_text())
    options = GpuOptions(out=tmp_path / "gpu.json", backbones="resnet18:null", sweep=2, large="mobilenet_v3_small")
    assert [one["name"] for one in kept["measured"]] == [job[0] for job in GpuBench(options, tmp_path).plan()]
    assert [one["error"] for one in kept["measured"] if "error" in one] == []
    empty, full = kept["measured"][:2]
    assert [run["strategy"] for run in empty["runs"]] == ["feature_extraction", "fine_tuning"]
    assert empty["total"] == pytest.approx(sum(run["seconds"]["total"] for run in empty["runs"]), abs=0.1)
    # The second command found what the first had kept.
    assert [run["seconds"]["prefix"] for run in full["runs"]] == [0, 0]
    # Stopped before its last result, it measures that one alone.
    last = kept["measured"].pop()
    (tmp_path / "gpu.json").write_text(json.dumps(kept))
    again = subprocess.run(command, env=environment | {"PYTEST_ADDOPTS": "-k pinned"}, capture_output=True, text=True)
    assert [line for line in again.stdout.splitlines() if line.endswith(" ...")] == [f"{last['name']} ..."]


def test_more_epochs_of_the_plain_loop_take_as_long_as_its_last():
    output = json.dumps({"seconds": {"fit": 7.0, "test": 1.0, "total": 9.0}, "epochs": [4.0, 3.0], "test": 0.5})
    assert extend(f"a line before\n{output}\n", epochs=15)["extended"] == 9.0 + 13 * 3.0
    assert extend(output, epochs=2)["extended"] == 9.0

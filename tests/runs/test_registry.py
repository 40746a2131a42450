"""The same run is found again, and no two processes make it at once."""

import json
import subprocess
import sys
import time

from flowers_tl.runs.registry import find_same, lock_run
from flowers_tl.utils.phase_timer import PhaseTimer


def test_the_furthest_of_unfinished_runs_is_found_and_damaged_records_are_passed_over(tmp_path):
    for name, status in (("a", "running"), ("b", "interrupted"), ("c", "running")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(json.dumps({"id": "1234", "status": status}))
    (tmp_path / "b" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "c" / "result.json").write_text('{"id": "1234", "sta')
    assert find_same("1234", [tmp_path]) == tmp_path / "b"
    (tmp_path / "a" / "result.json").write_text(json.dumps({"id": "1234", "status": "finished"}))
    assert find_same("1234", [tmp_path]) == tmp_path / "b"  # what has no scores was not finished by us
    (tmp_path / "a" / "result.json").write_text(json.dumps({"id": "1234", "status": "finished", "val": {}}))
    assert find_same("1234", [tmp_path, tmp_path / "b"]) == tmp_path / "a"
    assert find_same("5678", [tmp_path]) is None


def test_a_second_process_waits_and_then_finds_it_done(tmp_path):
    script = (
        "import sys; from pathlib import Path; from flowers_tl.utils.phase_timer import PhaseTimer; from flowers_tl.runs.registry import lock_run\n"
        "clock = PhaseTimer()\nwith lock_run(Path(sys.argv[1]), 'abc', clock):\n"
        " print('in', clock.elapsed('other'), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline().startswith("in")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        waiter = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], text=True, **pipes)
        assert "waiting" in waiter.stdout.readline()
        with lock_run(tmp_path, "another", PhaseTimer()):  # other runs go ahead
            pass
        time.sleep(1)
        assert waiter.poll() is None
        holder.stdin.close()
        entered, seconds = waiter.stdout.readline().split()
        assert entered == "in"
        assert float(seconds) < 1  # nobody's run took the time of waiting
        waiter.communicate("")

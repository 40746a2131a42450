"""flowers-tl runs each command as python -m does."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import flowers_tl
from flowers_tl.__main__ import COMMANDS

SCRIPT = Path(sys.executable).with_name("flowers-tl")


MODULE = [sys.executable, "-m", "flowers_tl"]


def run(entry: list[str], *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([*entry, *words], cwd=cwd, env=os.environ | environment, capture_output=True, text=True)


def test_every_command_stands_in_the_table():
    assert sorted(COMMANDS) == sorted(file.stem for file in Path(flowers_tl.__file__).parent.glob("[!_]*.py"))


def test_flowers_tl_alone_lists_the_commands_and_a_wrong_one_is_one_sentence(tmp_path):
    alone = run(MODULE, cwd=tmp_path)
    assert (alone.returncode, alone.stderr) == (0, "")
    for name, line in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", alone.stdout, re.MULTILINE)
    assert run(MODULE, "--version", cwd=tmp_path).stdout == f"flowers_tl {version('flowers_tl')}\n"
    wrong = run(MODULE, "trian", "seed=1", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("Error: There is no command 'trian': did you mean 'train'?")
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=parallel", "hydra.launcher.n_jobs=2"]])
def test_a_sweep_may_be_started_by_flowers_tl(tiny, tmp_path, launcher):
    words = tiny(strategy="fine_tuning,lp_ft", print_strategy="true")
    done = run(MODULE, "train", *words, "-m", *launcher, "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout + "".join(file.read_text() for file in tmp_path.rglob("log.txt"))
    assert all(f"{strategy} on resnet18" in text for strategy in ("fine_tuning", "lp_ft"))
    assert "2 of 2 jobs finished in sweep" in done.stdout


@pytest.mark.slow
def test_flowers_tl_trains_on_two_devices(tiny, tmp_path):
    words = tiny(strategy="feature_extraction", trainer__devices=2, trainer__max_epochs=1)
    done = run(MODULE, "train", *words, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.rglob("result.json")
    assert json.loads(record.read_text())["status"] == "finished"
    assert done.stdout.splitlines()[-1] == f"Run folder: {record.parent}" or done.stdout.splitlines()[-1].endswith(
        str(record.parent.relative_to(tmp_path))
    )


@pytest.mark.skipif(not SCRIPT.exists(), reason="flowers-tl is not installed: make install")
def test_the_installed_script_runs_a_command(tmp_path, tiny):
    done = run([str(SCRIPT)], "train", *tiny(strategy="fine_tuning", print_strategy="true"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fine_tuning on resnet18" in done.stdout

"""Sweeps whose jobs run side by side, as a user starts them: devices, threads, failures, interruptions, the summary."""

import json
import os
import signal as signals
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from flowers_tl.models.preprocessing import with_preprocessing

# What Python runs first in each process: a job that is to be killed dies, the others say at their end what they saw.
WITNESS = """
import atexit, json, os, signal, sys, time
begun, number = time.time(), [word for word in sys.orig_argv if word.startswith("hydra.job.num=")]
if number and os.environ.get("KILLED") in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGKILL)
def tell():
    seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    seen |= {"begun": begun, "ended": time.time(), "threads": sys.modules["torch"].get_num_threads()}
    with open(os.path.join(os.environ["WITNESS"], number[0] + ".json"), "w") as file:
        json.dump(seen, file)
if number:
    atexit.register(tell)
"""


@pytest.fixture
def witness(tmp_path):
    """Environment under which each job leaves a file on what it saw, and a function that reads them all."""
    (tmp_path / "first").mkdir()
    (tmp_path / "seen").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(WITNESS)
    path = os.pathsep.join(filter(None, [str(tmp_path / "first"), os.environ.get("PYTHONPATH")]))

    def seen() -> list[dict]:
        return [json.loads(file.read_text()) for file in sorted((tmp_path / "seen").iterdir())]

    return {"PYTHONPATH": path, "WITNESS": str(tmp_path / "seen")}, seen


def results(folder: Path) -> dict[int, dict]:
    """What the runs below a folder say, by seed."""
    found = [json.loads(file.read_text()) for file in folder.rglob("result.json")]
    return {result["seed"]: result for result in found if "seed" in result}


def spoil(job: Path) -> str:
    """Put a file into the folder of a job, which fails then as no check before could know; return its sentence."""
    job.mkdir(parents=True)
    (job / "hparams.yaml").touch()
    return f"{job} holds hparams.yaml already"


def test_jobs_run_at_the_same_time_each_on_a_device_of_its_own(run_command, tiny, config, witness, tmp_path):
    environment, seen = witness
    launcher = ["hydra/launcher=parallel", "hydra.launcher.devices=[3,5]", "hydra.sweep.dir='my sweep'"]
    process = run_command("train", *tiny(seed="0,1"), "-m", *launcher, cwd=tmp_path, **environment)
    assert process.returncode == 0, process.stderr
    first, second = seen()
    assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"3", "5"}
    assert max(first["begun"], second["begun"]) < min(first["ended"], second["ended"])
    cores = max(1, len(os.sched_getaffinity(0)) // 2)
    assert [int(job["OMP_NUM_THREADS"]) for job in (first, second)] == [cores, cores]
    assert first["threads"] == second["threads"] == cores
    for seed in (0, 1):
        folder = tmp_path / "my sweep" / f"{seed}_feature_extraction_seed{seed}"
        expected = with_preprocessing(config(tiny(seed=seed)))
        assert yaml.safe_load((folder / "config.yaml").read_text()) == expected
        assert "Run folder: " in (folder / "log.txt").read_text()
        accuracy = json.loads((folder / "result.json").read_text())["val"]["accuracy"]
        assert f"seed={seed}  val accuracy {accuracy:.1%}" in process.stdout
    assert "2 of 2 jobs finished in my sweep" in process.stdout


def test_a_job_that_fails_and_one_that_dies_take_no_other_along(run_command, tiny, witness, tmp_path):
    environment, _ = witness
    environment |= {"KILLED": "seed=7"}
    launcher = ["-m", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    sentence = spoil(tmp_path / "sweep" / "1_feature_extraction_seed1")
    process = run_command("train", *launcher, *tiny(seed="7,1,2"), cwd=tmp_path, **environment)
    assert process.returncode == 1
    told = sorted(process.stderr.splitlines())
    assert len(told) == 2
    assert all(line.startswith("Error: job ") for line in told)
    assert "seed=7): The job was ended by signal 9" in told[0]
    assert f"seed=1): {sentence}" in told[1]
    assert "1 of 3 jobs finished" in process.stdout
    assert f"seed=1  failed: {sentence}" in process.stdout
    assert [result["status"] for result in results(tmp_path).values()] == ["finished"]


def test_no_more_jobs_run_at_a_time_than_are_asked_for(run_command, tiny, witness, tmp_path):
    environment, seen = witness
    launcher = ["-m", "hydra/launcher=parallel", "hydra.launcher.n_jobs=1"]
    run_command("train", *launcher, *tiny(seed="0,1"), cwd=tmp_path, **environment)
    first, second = seen()
    assert first["ended"] < second["begun"]


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_reaches_every_job(tiny, tmp_path, signal, code):
    command = [sys.executable, "-m", "flowers_tl.train", "-m", *tiny(seed="0,1,2", trainer__max_epochs=2_000)]
    command += ["hydra/launcher=parallel", "hydra.launcher.n_jobs=2"]

    def as_in_a_terminal():  # a shell's background job, as CI may be, ignores Ctrl-C, and its children with it
        signals.signal(signals.SIGINT, signals.SIG_DFL)

    process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=as_in_a_terminal, stdout=subprocess.DEVNULL)
    deadline = time.time() + 100
    while len(list(tmp_path.rglob("history.csv"))) < 2 and time.time() < deadline:
        time.sleep(0.2)
    try:
        process.send_signal(getattr(signals, signal))
        assert process.wait(timeout=100) == code
    finally:
        process.kill()
    assert {seed: result["status"] for seed, result in results(tmp_path).items()} == {
        0: "interrupted",
        1: "interrupted",
    }


@pytest.mark.skipif(
    not find_spec("submitit"), reason="needs submitit: pip install '.[sweep]' in a checkout of the project"
)
def test_submitit_runs_jobs_elsewhere_and_what_fails_is_known_here(run_command, tiny, tmp_path):
    sentence = spoil(tmp_path / "sweep" / "1_feature_extraction_seed1")
    launcher = ["-m", "hydra/launcher=submitit_local", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    process = run_command("train", *launcher, *tiny(seed="0,1"), cwd=tmp_path)
    assert process.returncode == 1
    assert "1 of 2 jobs finished" in process.stdout
    assert f"seed=1  failed: {sentence}" in process.stdout
    assert [result["status"] for result in results(tmp_path).values()] == ["finished"]
    assert len(list(tmp_path.rglob("*_0_result.pkl"))) == 2


@pytest.mark.skipif(
    not find_spec("submitit"), reason="needs submitit: pip install '.[sweep]' in a checkout of the project"
)
def test_the_slurm_preset_is_what_submitit_takes(run_command, tiny):
    process = run_command("train", "hydra/launcher=slurm", "--cfg", "hydra", "--package", "hydra.launcher")
    assert process.returncode == 0, process.stderr
    found = yaml.safe_load(process.stdout)
    assert found["_target_"].endswith("SlurmLauncher")
    assert (found["gpus_per_node"], found["tasks_per_node"], found["timeout_min"]) == (1, 1, 240)


def test_a_sweep_without_a_launcher_has_a_summary_too(run_command, tiny, tmp_path):
    sentence = spoil(tmp_path / "sweep" / "0_feature_extraction_seed1")
    process = run_command("train", "-m", f"hydra.sweep.dir={tmp_path / 'sweep'}", *tiny(seed="1,0"), cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.count(f"Error: {sentence}") == 1
    assert "1 of 2 jobs finished" in process.stdout
    assert f"seed=1  failed: {sentence}" in process.stdout
    assert "seed=0  val accuracy" in process.stdout

"""What an earlier version has left is read by this one: compared, evaluated, asked, and gone on with to the same end."""

import csv
import json
import platform
import re
import shutil
import tarfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from flowers_tl.config.keys import LATER_ROW_KEYS

# tests/old_runs/README.md says how it was made.
DATA = Path(__file__).parents[1] / "old_runs" / "old_runs.tar.xz"
# Other processors, numbers of threads and versions of PyTorch round otherwise.
ROUNDING = {"rel": 1e-3, "abs": 1e-4}
LATE = [
    *("strategy=fine_tuning", "strategy.name=late", "optimizer=adamw", "scheduler=cosine"),
    "strategy.table=[{stage:head,lr:0.002},{stage:stage2,lr:x0.5,from_epoch:1,only:[norm]},"
    "{stage:neck,lr:0.001,from_epoch:3,only:[bias]}]",
    *("regularisation=ema", "regularisation.ema=0.9", "proof=true"),
]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder that the earlier version worked in: photos, weights, outputs, and what it expected. Not to be changed."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(DATA) as archive:
        archive.extractall(folder, filter="data")
    return folder / "old_runs"


@pytest.fixture
def command(old, monkeypatch, capsys):
    """Run a command in that folder; return what it prints."""
    monkeypatch.chdir(old)

    def run(name, *arguments):
        capsys.readouterr()
        try:
            import_module(f"flowers_tl.{name}").main(list(arguments))
        except SystemExit as stop:
            if stop.code:
                raise
        return capsys.readouterr().out

    return run


def read_json(*path):
    return json.loads(Path(*path).read_text())


def history(run):
    with open(run / "history.csv", newline="") as file:
        return [
            {key: float(value) for key, value in row.items() if value and key != "seconds"}
            for row in csv.DictReader(file)
        ]


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)


def test_compare_shows_the_same_scores(old, command, tmp_path):
    command("compare", "outputs", f"out={tmp_path}")
    page, expected = ((folder / "comparison.md").read_text() for folder in (tmp_path, old / "expected"))
    for strategy in ("late", "linear_probe"):
        (row,), (wanted,) = (re.findall(rf"^\| {strategy} .*", text, re.MULTILINE) for text in (page, expected))
        for cell in wanted.split("|")[3:]:  # behind name and seeds: parameters, rates and scores
            assert cell in row
    assert re.search(r"^.*\bstopped\b.*\brunning\b", page, re.MULTILINE)


@pytest.mark.parametrize("run", ["finished", "probe"])
def test_evaluate_measures_the_same(old, command, tmp_path, run):
    command("evaluate", f"ckpt=outputs/{run}", f"out={tmp_path / 'out'}")
    found, expected = (
        read_json(file) for file in (tmp_path / "out" / "evaluation.json", old / "expected" / f"{run}-evaluation.json")
    )
    for name in ("accuracy", "balanced_accuracy", "top5", "loss", "calibration_error"):
        assert found["scores"][name] == pytest.approx(expected["scores"][name], **ROUNDING), name
    # Only where images and split are known for those that training measured:
    assert found["reported_by_training"] == expected["reported_by_training"]
    answers = [
        np.load(file) for file in (tmp_path / "out" / "predictions.npz", old / "outputs" / run / "predictions.npz")
    ]
    assert answers[0]["test_logits"] == pytest.approx(answers[1]["test_logits"], **ROUNDING)
    for key in ("test_labels", "test_pictures", "class_names"):
        assert answers[0][key].tolist() == answers[1][key].tolist()


@pytest.mark.parametrize("run", ["finished", "probe"])
def test_predict_gives_the_same_probabilities(old, command, run):
    printed = command("predict", "images=photos/lily", f"ckpt=outputs/{run}", "format=jsonl", "top=3")
    expected = (old / "expected" / f"{run}-predictions.jsonl").read_text()
    found, wanted = ([json.loads(line) for line in text.splitlines()] for text in (printed, expected))
    assert len(found) == len(wanted) == 12
    for one, other in zip(found, wanted, strict=True):
        (first, *top), (second, *others) = one.values(), other.values()  # the file, and its classes
        assert first == second
        shares = [{row["class"]: row["probability"] for row in rows[0]} for rows in (top, others)]
        assert shares[0] == pytest.approx(shares[1], **ROUNDING)


@pytest.mark.parametrize("way", ["by its folder", "by the same command"])
def test_a_stopped_run_goes_on_to_the_end_that_it_would_have_had(old, run_command, tmp_path, way):
    shutil.copytree(old / "outputs" / "stopped", tmp_path / "outputs" / "stopped")
    run, finished = tmp_path / "outputs" / "stopped", old / "outputs" / "finished"
    arguments = [f"hydra.run.dir={run}", "ckpt_path=last"]
    if way == "by the same command":  # then it is found by its id
        given = (old / "train.txt").read_text().split()
        arguments = [*given, *LATE, f"runs={tmp_path / 'outputs'}", f"hydra.run.dir={tmp_path / 'new'}"]
    done = run_command("train", *arguments, cwd=old, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "new" / "config.yaml").exists()
    # Bit for bit where the earlier version ran; elsewhere rounding differs.
    exact = machine() == read_json(old, "expected", "machine.json")
    rounding = {"rel": 0.0, "abs": 0.0} if exact else ROUNDING
    assert len(history(run)) == 4
    for row, wanted in zip(history(run), history(finished), strict=True):
        assert row == pytest.approx(wanted, **rounding)
    result, expected = (read_json(folder, "result.json") for folder in (run, finished))
    for key in ("id", "status", "epochs", "proof", "parameters", "learning_rates", "prefix", "protocol"):
        assert result[key] == expected[key], key
    for split in ("val", "test"):
        assert result[split] == pytest.approx(expected[split], **rounding)
    one, other = last(run), last(finished)
    assert one["global_step"] == other["global_step"] == 12
    # What callbacks keep is found by these names, also what this strategy does not need.
    assert one["callbacks"].keys() == other["callbacks"].keys()
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, tensor in other["state_dict"].items():
        torch.testing.assert_close(
            one["state_dict"][name], tensor, rtol=rounding["rel"], atol=rounding["abs"], msg=name
        )


def test_each_key_of_an_old_config_is_still_known(old, config):
    saved = yaml.safe_load((old / "outputs" / "finished" / "config.yaml").read_text())
    leaves = {key: value for key, value in flatten(saved) if key != "ckpt_path"}
    composed = config(
        ["data=folder", "regularisation=ema", *(f"{key}={typed(value)}" for key, value in leaves.items())]
    )
    found = dict(flatten(composed))
    assert len(leaves) > 80
    leaves["strategy.table"] = [row | LATER_ROW_KEYS for row in leaves["strategy.table"]]
    for key, value in leaves.items():
        assert found[key] == value, key


def machine():
    """What the last bits of a result depend on."""
    known = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*: (.*)", known.read_text()) if known.exists() else None
    kernels = torch.backends.cpu.get_cpu_capability()
    return {"cpu": cpu[1] if cpu else platform.machine(), "kernels": kernels, "torch": torch.__version__}


def flatten(config, path=""):
    """Key and value of all leaves; a list is one."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def typed(value):
    """A value as Hydra's command line takes it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{typed(own)}" for key, own in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    return json.dumps(value)

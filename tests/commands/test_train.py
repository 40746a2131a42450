"""Runs, as a user starts them: what they print, what they leave, what they refuse."""

import csv
import json
import re
import shutil
import signal as signals
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from flowers_tl.training.run import train
from flowers_tl.utils.phase_timer import PHASES


@pytest.fixture(scope="module")
def finished(run_command, tiny, tmp_path_factory):
    """One run as a user starts it, in a folder of his own."""
    cwd = tmp_path_factory.mktemp("user")
    arguments = tiny(strategy="fine_tuning", trainer__enable_progress_bar="true", test_best="true", cache__dir="cache")
    return run_command("train", *arguments, cwd=cwd), cwd


def test_a_run_leaves_what_it_should(finished):
    process, _ = finished
    assert process.returncode == 0, process.stderr
    folder = Path(process.stdout.strip().splitlines()[-1].removeprefix("Run folder: "))
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "history.csv", "result.json", "checkpoints"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1

    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["strategy"] == "fine_tuning"
    assert (result["backbone"], result["weights"], result["seed"], result["epochs"]) == ("resnet18", "random", 0, 2)
    assert result["parameters"] == {"total": 11_176_512 + 513 * 3, "trainable": 8_393_728 + 513 * 3}
    assert result["data"] | {"root": None} == {
        "name": "synthetic",
        "root": None,
        "cut": [],
        "train": 12,
        "val": 6,
        "test": 9,
    }
    for scores in (result["val"], result["test"], result["best"]["val"], result["best"]["test"]):
        assert set(scores) == {"accuracy", "balanced_accuracy", "loss"}
    seconds = result["seconds"]
    assert list(seconds) == ["decode", "prefix", "solve", "fit", "test", "other", "total", "cold"]
    assert seconds["total"] == pytest.approx(sum(seconds[phase] for phase in PHASES), abs=0.05)
    assert min(seconds[phase] for phase in ("decode", "prefix", "fit", "test")) > 0
    assert f"fit {seconds['fit']:.1f} s" in process.stdout
    assert result["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert yaml.safe_load((folder / "config.yaml").read_text())["strategy"]["name"] == "fine_tuning"


def test_it_prints_what_it_will_do_and_a_line_an_epoch_with_loss_and_accuracy(finished):
    output = finished[0].stdout
    for part in ("layer4", "8,393,728", "frozen", "0.0001", "test  accuracy"):
        assert part in output
    for line in (
        r"Data    synthetic, 3 classes; images: 12 train, 6 val, 9 test",
        r"Device  cpu, 2 epochs",
        r"Cached  decoded images, outputs of the frozen stages before layer4, 4 views of each training image",
        r"Epoch 1/2: train/val loss \d\.\d{3}/\d\.\d{3}, accuracy \d+%/\d+%",
        r"Epoch 2/2: train/val loss .*",
    ):
        assert re.search(f"^{line}$", output, re.MULTILINE), line


def test_in_a_file_no_bar_leaves_a_blank_line(finished):
    assert "" not in finished[0].stdout.splitlines()


def test_names_that_it_writes_can_be_typed_for_hydra(finished):
    for path in finished[1].rglob("*"):
        assert not set("=,[]{}()") & set(str(path.relative_to(finished[1]))), path


def test_history_ends_with_what_the_result_says(finished):
    folder = next(finished[1].rglob("result.json")).parent
    header, *rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["0", "1"]
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr/layer4", "lr/head"} <= set(header)
    last = dict(zip(header, map(float, rows[-1]), strict=True))
    result = json.loads((folder / "result.json").read_text())
    assert last["val/loss"] == result["val"]["loss"]
    assert last["val/accuracy"] == result["val"]["accuracy"]
    assert (last["lr/layer4"], last["lr/head"]) == (1e-4, 1e-3)


def test_tensorboard_shows_curves_rates_images_and_hyperparameters(finished):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    events = EventMultiplexer().AddRunsFromDirectory(str(finished[1] / "outputs")).Reload()
    (tags,) = events.Runs().values()
    first = [
        *(f"accuracy/{split}" for split in ("test", "train", "val")),
        *(f"loss/{split}" for split in ("test", "train", "val")),
    ]
    assert sorted(tags["scalars"])[:6] == first
    assert {"stages/lr/layer4", "stages/lr/head", "result/val_accuracy", "result/test_accuracy"} <= set(tags["scalars"])
    assert "epoch" not in tags["scalars"]
    assert {"train/images", "val/confusion", "test/confusion"} <= set(tags["images"])
    (name,) = events.Runs()
    assert len(events.Scalars(name, "loss/val")) == 2  # the best checkpoint's test adds no point
    assert "custom_scalars__config__" in events.GetAccumulator(name).summary_metadata
    assert "_hparams_/session_start_info" in events.GetAccumulator(name).summary_metadata


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_is_told_from_success(tiny, tmp_path, signal, code):
    command = [sys.executable, "-m", "flowers_tl.train", *tiny(trainer__max_epochs=10_000)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def as_in_a_terminal():  # a shell's background job, as CI may be, ignores Ctrl-C, and its children with it
        signals.signal(signals.SIGINT, signals.SIG_DFL)

    def checkpoint() -> int:
        return max((file.stat().st_mtime_ns for file in tmp_path.rglob("last.ckpt")), default=0)

    for _ in range(2):  # the second goes on in the first one's folder
        before, deadline = checkpoint(), time.time() + 100
        process = subprocess.Popen(command, cwd=tmp_path, preexec_fn=as_in_a_terminal, **pipes)
        while checkpoint() == before and time.time() < deadline:
            time.sleep(0.2)
        try:
            process.send_signal(getattr(signals, signal))
            errors = process.communicate(timeout=100)[1]
        finally:
            process.kill()  # a run that shrugs it off must not go on behind the tests
        assert process.returncode == code
        (record,) = tmp_path.rglob("result.json")
        go_on = f"hydra.run.dir={record.parent.relative_to(tmp_path)} ckpt_path=last."
        assert f"Error: interrupted; to continue after the last finished epoch, add {go_on}" in errors
        assert "Traceback" not in errors
        assert json.loads(record.read_text())["status"] == "interrupted"


BAD = [
    (["strategy=fine_tunin"], "There is no strategy 'fine_tunin': did you mean 'fine_tuning'"),
    (["backbone=resnet81"], "There is no backbone 'resnet81': did you mean 'resnet18'"),
    (["trainer.max_epoch=3"], "There is no key 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
    (["data.train_per_clas=3"], "There is no key 'data.train_per_clas': did you mean 'data.train_per_class'"),
    (["trainer.precision=bf16-true"], "trainer.precision=bf16-true would round the frozen weights"),
    (["sead=1"], "There is no key 'sead': did you mean 'seed'"),
    (["trainer.max_epochs=many"], "trainer.max_epochs=many must be a whole number."),
    (["strategy.table=[{stage: head, lrr: 1}]"], "There is no key 'lrr': did you mean 'lr'"),
    (["strategy.table.0.lrr=1"], "There is no key 'strategy.table.0.lrr': did you mean 'strategy.table.0.lr'"),
    (["+trainer.max_epoch=1"], "There is no key 'trainer.max_epoch': did you mean 'trainer.max_epochs'"),
    (["stratgy=fine_tuning"], "There is no key 'stratgy': did you mean 'strategy'"),
    (["strategy.name=null"], "strategy.name must have a value, and null is none."),
    (["a=b=c"], "can't be read as key=value"),
    (["strategy=nope,fine_tuning"], "add -m to run a job for each value"),
    (["hydra.run.dir=/dev/null/run"], "use another folder with hydra.run.dir=DIR"),
]
BAD_LATER = [
    (["strategy.table.0.stage=heda"], "did you mean 'head'"),
    (["backbone.weights=nothing.pth"], "backbone.weights=nothing.pth is no file"),
    (["trainer.precision=99"], "trainer.precision=99 can't be used"),
    (["trainer.max_epochs=0"], "must be at least 1"),
    (["data.test_per_class=0"], "data.test_per_class=0 must be at least 1"),
    (["seed=-1"], "seed=-1 must be at least 0"),
    (["backbone=vit_b_16", "data.image_size=72"], "data.image_size=72 does not fit vit_b_16"),
    (["strategy.name='a,b'"], "can't be a folder's name"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD + BAD_LATER, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_bad_input_is_one_sentence_and_exit_code_1(run_command, tiny, arguments, message):
    process = run_command("train", *tiny(), *arguments)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.startswith("Error: ")
    assert process.stderr.count("\n") == 1
    assert "Traceback" not in process.stdout


def test_the_stack_trace_is_shown_on_request(run_command, tiny):
    process = run_command("train", *tiny(), "strategy.table.0.stage=heda", HYDRA_FULL_ERROR="1")
    assert process.returncode == 1
    assert "Traceback" in process.stderr


def test_an_earlier_runs_folder_is_refused_and_left_alone(run_command, tiny, finished, tmp_path):
    folder = tmp_path / "earlier"
    shutil.copytree(next(finished[1].rglob("result.json")).parent, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    process = run_command("train", *tiny(), f"hydra.run.dir={folder}")
    assert process.returncode == 1
    assert "holds a run already" in process.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_in_a_multirun_the_others_go_on(run_command, tiny, tmp_path):
    arguments = tiny(optimizer="adam,sgd", optimizer__momentum="null,0.9")
    process = run_command("train", *arguments, "-m", cwd=tmp_path)
    assert process.returncode == 1
    assert (
        process.stderr.count("Error: optimizer.momentum=0.9 has no effect with adam") == process.stderr.count("\n") == 1
    )
    assert "3 of 4 jobs finished" in process.stdout
    finished = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("result.json")]
    assert finished == ["finished"] * 3
    # The job that could not run has left no folder.
    assert len(list(tmp_path.glob("outputs/*/*_sweep/*_seed0"))) == 3


def test_a_strategy_of_ones_own_lies_in_any_folder(run_command, tiny, tmp_path):
    (tmp_path / "mine" / "strategy").mkdir(parents=True)
    (tmp_path / "mine" / "strategy" / "last_two.yaml").write_text(
        'name: last_two\ntable:\n  - {stage: "-2:", lr: 1e-4}\n  - {stage: head, lr: 1e-3}\n'
    )
    process = run_command("train", *tiny(strategy="last_two,nope"), "--config-dir", "mine", "-m", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("Error: There is no strategy 'nope'")
    process = run_command("train", *tiny(strategy="last_two"), "--config-dir", "mine", "-m", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (result,) = (json.loads(path.read_text()) for path in tmp_path.rglob("result.json"))
    assert result["status"] == "finished"
    assert result["learning_rates"] == {"layer3-layer4": 1e-4, "head": 1e-3}


def test_the_article_runs_both_strategies(run_command, tiny, tmp_path):
    process = run_command("train", "experiment=article", *tiny(trainer__max_epochs=1), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    configs = [yaml.safe_load(path.read_text())["strategy"] for path in sorted(tmp_path.rglob("config.yaml"))]
    assert [c["name"] for c in configs] == ["feature_extraction", "fine_tuning"]
    assert [c["frozen_batchnorm"] for c in configs] == ["train", "train"]


def test_help_is_quick_to_import(run_command):
    process = run_command("train", "--help")
    assert process.returncode == 0
    for part in ("feature_extraction", "resnet18", "synthetic", "max_epochs"):
        assert part in process.stdout


@pytest.mark.slow
def test_two_processes_count_every_image_once_and_a_sweep_may_use_them(run_command, tiny, tmp_path):
    arguments = tiny(strategy="feature_extraction,fine_tuning", trainer__devices=2, data__test_per_class=5)
    process = run_command("train", "-m", *arguments, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert process.returncode == 0, process.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    assert sorted(r["strategy"] for r in results) == ["feature_extraction", "fine_tuning"]
    for result in results:
        right = result["test"]["accuracy"] * 15
        assert right == pytest.approx(round(right), abs=1e-4)
        assert result["test"]["accuracy"] == pytest.approx(result["test"]["balanced_accuracy"], abs=1e-5)
    assert len(list((tmp_path / "outputs").glob("[!.]*/*"))) == 1


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(run_command, tiny, tmp_path):
    """The loss is a mean over images, wherever these are; the last batch of 4 images is a small one."""
    for devices in (1, 2):
        more = {
            "data.batch_size": 8,
            "data.balance": "weights",
            "trainer.devices": devices,
            "runs": tmp_path / str(devices),
        }
        words = tiny(strategy="feature_extraction", optimizer="sgd", **more)
        process = run_command("train", *words, cwd=tmp_path, OMP_NUM_THREADS="1")
        assert process.returncode == 0, process.stderr
    one, two = (list(csv.DictReader(file.open())) for file in sorted(tmp_path.rglob("history.csv")))
    for column in ("train/loss", "val/loss", "step"):
        assert [float(row[column]) for row in one] == pytest.approx([float(row[column]) for row in two], abs=1e-5)


@pytest.mark.slow
@pytest.mark.real_data
def test_one_epoch_on_real_flowers_learns(config, tmp_path):
    overrides = ["backbone=mobilenet_v2", "backbone.weights=mobilenet_v2-imagenet-backbone.pth", "trainer.max_epochs=1"]
    more = ["trainer.limit_test_batches=4", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    result = train(config([*overrides, *more]), tmp_path / "run")
    assert result["parameters"]["trainable"] == 130_662
    assert [result["data"][key] for key in ("name", "train", "val", "test")] == ["flowers", 1020, 1020, 6149]
    assert result["val"]["accuracy"] > 0.2  # one in 102 is chance

"""A run that was stopped, however, goes on to what it would have become: bit for bit on CPU."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from flowers_tl.config.keys import LATER_KEYS
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.runs.resume import restore_config
from flowers_tl.training.run import train
from flowers_tl.training.trainer import AtomicCheckpoints
from flowers_tl.utils.errors import UserError
from tests.campaign.ends import read_scalars


class PulledPlug(Exception):
    pass


@pytest.fixture
def run(config, tiny, tmp_path):
    """Train in ``tmp_path/name`` with overrides by key; ``stop`` pulls the plug when that epoch has begun."""

    def run(name, stop=None, given=(), **keys):
        begin = TransferClassifier.training_step

        def step(self, batch, batch_idx):
            if self.current_epoch == stop:
                raise PulledPlug
            return begin(self, batch, batch_idx)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TransferClassifier, "training_step", step)
            if stop is None:
                return train(config(tiny(**keys)), tmp_path / name, given)
            with pytest.raises(PulledPlug):
                train(config(tiny(**keys)), tmp_path / name, given)

    return run


def last(folder) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def history(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def assert_same_end(one, other):
    first, second = last(one), last(other)
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]), key
    assert first["global_step"] == second["global_step"]
    assert history(one) == history(other)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    for key in ("val", "test", "epochs", "proof", "best"):
        assert results[0].get(key) == results[1].get(key), key


EVERYTHING = {
    "optimizer": "sgd", "scheduler": "cosine", "regularisation.mixup": 0.2, "regularisation.cutmix": 1.0,
    "regularisation.ema": 0.9, "trainer.gradient_clip_val": 1.0, "data.augmentation": "trivial_augment",
}  # fmt: skip
CASES = {
    "feature_extraction": {"backbone": "mobilenet_v2"},  # dropout in its head
    "fine_tuning": {"backbone": "efficientnet_b0", "scheduler": "onecycle", "optimizer": "adamw"},  # and in its stages
    "full_fine_tuning": {"backbone": "resnet18", **EVERYTHING},
    "gradual_unfreezing": {"backbone": "mobilenet_v3_small"},
    "lp_ft": {"backbone": "resnet18", "regularisation": "early_stopping"},
    "norm_tuning": {"backbone": "resnet18", "regularisation": "label_smoothing"},
    "from_scratch": {"backbone": "squeezenet1_1"},
    "lora": {"backbone": "resnet18", "regularisation": "ema"},
}


@pytest.mark.parametrize("strategy", CASES)
def test_a_stopped_run_ends_as_if_it_never_had(run, tmp_path, strategy):
    keys = {"strategy": strategy, "trainer.max_epochs": 7 if strategy == "gradual_unfreezing" else 3} | CASES[strategy]
    stop = 3 if strategy == "gradual_unfreezing" else 2  # neck, stage4 and stage3 have begun to learn by then
    run("whole", test_best="true", **keys)
    run("stopped", stop=stop, test_best="true", **keys)
    assert json.loads((tmp_path / "stopped" / "result.json").read_text())["status"] == "failed"
    assert len(history(tmp_path / "stopped")) == stop
    # The settings are the run's own: they need not be named again.
    result = run("stopped", ckpt_path="last", given=("ckpt_path",))
    assert result["status"] == "finished"
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")


def test_a_killed_run_goes_on_after_an_unfreezing(run_command, tiny, tmp_path, run):
    keys = {"strategy": "gradual_unfreezing", "backbone": "mobilenet_v3_small", "trainer.max_epochs": 7}
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "flowers_tl.train", *tiny(**keys), f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        deadline = time.time() + 120
        while time.time() < deadline and not ((folder / "history.csv").is_file() and len(history(folder)) >= 3):
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads((folder / "result.json").read_text())["status"] == "running"
    assert 3 <= len(history(folder)) < 7
    again = run_command("train", f"hydra.run.dir={folder}", "ckpt_path=last", OMP_NUM_THREADS="1")
    assert again.returncode == 0, again.stderr
    whole = tmp_path / "whole"
    assert run_command("train", *tiny(**keys), f"hydra.run.dir={whole}", OMP_NUM_THREADS="1").returncode == 0
    assert_same_end(whole, folder)


def test_a_checkpoint_may_be_gone_on_from_in_another_folder(run, tmp_path):
    run("whole", strategy="fine_tuning", trainer__max_epochs=3, test_best="true")
    run("first", strategy="fine_tuning", trainer__max_epochs=3, stop=2, test_best="true")
    before = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    run("second", strategy="fine_tuning", ckpt_path=path, given=("strategy", "ckpt_path"))
    assert_same_end(tmp_path / "whole", tmp_path / "second")
    assert {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()} == before
    assert (tmp_path / "second" / "checkpoints" / "best.ckpt").is_file()


def test_the_best_so_far_survives_a_move(run, tmp_path):
    run("here", trainer__max_epochs=3, stop=2)
    best = torch.load(tmp_path / "here" / "checkpoints" / "best.ckpt", weights_only=True)["epoch"]
    (tmp_path / "here").rename(tmp_path / "there")
    run("there", ckpt_path="last", test_best="true", given=("ckpt_path", "test_best"))
    accuracies = [float(row["val/accuracy"]) for row in history(tmp_path / "there")]
    found = json.loads((tmp_path / "there" / "result.json").read_text())["best"]
    assert found["val"]["accuracy"] == pytest.approx(max(accuracies))
    assert found["epoch"] == (2 if accuracies[2] > accuracies[best] else best)


def test_a_finished_run_may_be_made_longer_but_is_not_run_again(run, tmp_path, capsys):
    run("whole", strategy="fine_tuning", trainer__max_epochs=3)
    run("short", strategy="fine_tuning", trainer__max_epochs=2)
    stamp = (tmp_path / "short" / "result.json").stat().st_mtime_ns
    run("short", ckpt_path="last", given=("ckpt_path",))
    assert "is finished already" in capsys.readouterr().out
    assert (tmp_path / "short" / "result.json").stat().st_mtime_ns == stamp
    run("short", ckpt_path="last", trainer__max_epochs=3, given=("ckpt_path", "trainer.max_epochs"))
    assert_same_end(tmp_path / "whole", tmp_path / "short")


def test_a_solved_head_that_was_not_tested_yet_is_tested(run, tmp_path):
    whole = run("probe", strategy="linear_probe")
    file = tmp_path / "probe" / "result.json"
    file.write_text(json.dumps(whole | {"status": "running", "test": None}))
    again = run("probe", ckpt_path="last", given=("ckpt_path",))
    assert again["test"] == whole["test"]
    assert again["val"] == whole["val"]


def test_tensorboard_shows_each_epoch_once(run, tmp_path):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    run("one", trainer__max_epochs=3, stop=1)
    kept = tmp_path / "one" / "checkpoints" / "last.ckpt"
    early = kept.read_bytes()
    run("one", ckpt_path="last", given=("ckpt_path",))
    kept.write_bytes(early)  # as if it had been killed after the curves were written, and before the checkpoint was
    file = tmp_path / "one" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running"}))
    run("one", ckpt_path="last", given=("ckpt_path",))
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "one")).Reload()
    (name,) = events.Runs()
    assert len(events.Scalars(name, "loss/val")) == 3


def test_nothing_to_go_on_from_is_an_error_and_no_fresh_start(run, tmp_path):
    with pytest.raises(UserError, match=r"ckpt_path=last finds no checkpoint \(.*last.ckpt is not there"):
        run("new", ckpt_path="last")
    assert not (tmp_path / "new" / "result.json").exists()
    with pytest.raises(UserError, match=r"nowhere.ckpt is not a file"):
        run("new", ckpt_path="nowhere.ckpt")
    (tmp_path / "junk.ckpt").write_text("junk")
    with pytest.raises(UserError, match="is no checkpoint from which training can continue"):
        run("new", ckpt_path=tmp_path / "junk.ckpt")


def test_other_settings_are_refused_and_the_run_is_left_alone(run, tmp_path):
    run("one", trainer__max_epochs=3, stop=2, scheduler="cosine")
    before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    for keys, message in (
        ({"strategy": "fine_tuning"}, r"its own settings \(strategy.name=feature_extraction"),
        ({"seed": 5}, r"its own settings \(seed=0"),
        ({"trainer.max_epochs": 9}, r"trainer.max_epochs=3 can't change with scheduler=cosine"),
    ):
        with pytest.raises(UserError, match=message):
            run("one", ckpt_path="last", given=("ckpt_path", *keys), **keys)
    assert {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()} == before


def test_a_run_from_before_a_key_existed_goes_on_with_its_default(config, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(LATER_KEYS, "compute.new", 4)
    old, checkpoint = config(tiny()), tmp_path / "checkpoints" / "last.ckpt"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    new = old | {"compute": old["compute"] | {"new": 5}}
    assert restore_config(new, checkpoint, ["ckpt_path"])["compute"]["new"] == 4
    with pytest.raises(UserError, match=r"its own settings \(compute.new=4"):
        restore_config(new, checkpoint, ["ckpt_path", "compute.new"])


def test_a_checkpoint_without_its_run_must_fit(run, tmp_path):
    run("one", trainer__max_epochs=2)
    lonely = tmp_path / "lonely.ckpt"
    lonely.write_bytes((tmp_path / "one" / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"was trained with another backbone: resnet18, not mobilenet_v2"):
        run("two", ckpt_path=lonely, backbone="mobilenet_v2", trainer__max_epochs=3)


def test_two_processes_can_not_work_on_one_run(run, tmp_path):
    from filelock import FileLock

    run("one", trainer__max_epochs=3, stop=2)
    with FileLock(tmp_path / "one" / ".lock"), pytest.raises(UserError, match="Another process works on the run"):
        run("one", ckpt_path="last", given=("ckpt_path",))


def test_the_config_of_the_run_stays(run, tmp_path):
    run("one", strategy="gradual_unfreezing", backbone="mobilenet_v3_small", trainer__max_epochs=7, stop=2)
    before = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    run("one", ckpt_path="last", given=("ckpt_path",))
    after = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert after == before | {"ckpt_path": "last"}


@pytest.mark.parametrize("keys", [{"regularisation.ema": 0.98, "strategy.table.0.lr": 0.3}, {"strategy": "lp_ft"}])
def test_a_run_killed_in_its_test_ends_as_if_it_never_had(run, tmp_path, keys):
    whole = run("one", test_best="true", trainer__max_epochs=3, data__batch_size=4, **keys)
    file = tmp_path / "one" / "result.json"
    file.write_text(
        json.dumps({key: whole[key] for key in whole if key not in ("test", "best")} | {"status": "running"})
    )
    again = run("one", ckpt_path="last", given=("ckpt_path",))
    times = {"seconds": None, "kept": None}
    assert again | times == whole | times


@pytest.mark.parametrize(
    "keys",
    [
        {"trainer.max_epochs": 2, "data.batch_size": 4},
        {"trainer.max_epochs": 6, "regularisation.early_stopping": 1, "strategy.table.0.lr": 1e-12},
        {"trainer.max_epochs": 6, "trainer.max_steps": 2},
    ],
    ids=["epochs", "patience", "steps"],
)
def test_a_run_killed_behind_its_last_checkpoint_ends_as_if_it_never_had(run, tmp_path, monkeypatch, keys):
    """Neither the freeze check's record is lost, nor the curves' last point, nor that early stopping ended it."""
    whole, save = run("whole", **keys), AtomicCheckpoints.save_checkpoint
    for epoch in range(1, whole["epochs"] + 1):
        name = f"killed behind {epoch}"

        def stopping(self, checkpoint, path, storage_options=None, epoch=epoch):
            save(self, checkpoint, path)
            if path.endswith("last.ckpt") and checkpoint["epoch"] == epoch - 1:
                raise PulledPlug

        monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", stopping)
        with pytest.raises(PulledPlug):
            run(name, **keys)
        monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", save)
        run(name, ckpt_path="last", given=("ckpt_path",))
        assert_same_end(tmp_path / "whole", tmp_path / name)
        assert read_scalars(tmp_path / "whole") == read_scalars(tmp_path / name)


def test_a_resume_that_fails_leaves_the_run_alone(run, tmp_path):
    run("one", trainer__max_epochs=2)
    for name, content, message in (
        ("history.csv", "epoch,step\nx,y\n", r"history.csv is damaged"),
        ("config.yaml", "", r"config.yaml can't be read as the run's settings"),
        ("checkpoints/last.ckpt", "garbage", r"is no checkpoint from which training can continue"),
    ):
        path = tmp_path / "one" / name
        good = path.read_bytes()
        path.write_text(content)
        before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
        with pytest.raises(UserError, match=message):
            run("one", ckpt_path="last", trainer__max_epochs=3, given=("ckpt_path", "trainer.max_epochs"))
        assert {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()} == before
        path.write_bytes(good)


def test_what_ended_early_is_finished(run, tmp_path, capsys):
    for name, keys in (
        ("patience", {"regularisation.early_stopping": 1, "strategy.table.0.lr": 1e-12}),
        ("steps", {"trainer.max_steps": 2}),
    ):
        run(name, trainer__max_epochs=6, **keys)
        before = (tmp_path / name / "result.json").read_bytes()
        run(name, ckpt_path="last", given=("ckpt_path",))
        assert "is finished" in capsys.readouterr().out
        assert (tmp_path / name / "result.json").read_bytes() == before


def test_a_complete_run_is_not_gone_on_from_elsewhere_nor_made_shorter(run, tmp_path):
    run("one", trainer__max_epochs=2)
    path = tmp_path / "one" / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"has 2 epochs already: set trainer.max_epochs above 2"):
        run("two", ckpt_path=path, given=("ckpt_path",))
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("change", ["picture", "class"])
def test_a_run_does_not_go_on_with_other_images(config, photos, tmp_path, change):
    root = photos({"a": 8, "b": 8})
    keys = {"data": "folder", "data.root": root, "data.image_size": 32, "backbone.weights": "null"}
    keys |= {"trainer.accelerator": "cpu", "trainer.max_epochs": 1, "trainer.enable_progress_bar": "false"}
    train(config([f"{key}={value}" for key, value in keys.items()]), tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    if change == "picture":
        (first, second) = sorted((root / "a").iterdir())[:2]
        first.write_bytes(second.read_bytes())
    else:
        (root / "b").rename(root / "c")
    longer = config([f"{key}={value}" for key, value in keys.items()] + ["ckpt_path=last"])
    longer["trainer"]["max_epochs"] = 2
    with pytest.raises(UserError, match="classes have changed" if change == "class" else "train images have changed"):
        train(longer, tmp_path / "run", ("ckpt_path", "trainer.max_epochs"))
    assert (tmp_path / "run" / "result.json").read_bytes() == before


def test_data_in_the_command_that_resumes_names_the_set_and_not_its_other_keys(config, tmp_path):
    saved = config(["data=folder", "data.root=photos", "data.val_fraction=0.3", "data.batch_size=7"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert restore_config(config(["data=folder"]), checkpoint, ("data", "ckpt_path"))["data"] == saved["data"]
    with pytest.raises(UserError, match=r"its own settings \(data\.name=folder"):
        restore_config(config(["data=flowers"]), checkpoint, ("data", "ckpt_path"))

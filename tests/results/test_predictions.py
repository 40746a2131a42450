"""What a run answered for each image is kept, and says the same as its scores."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from flowers_tl.results.load_runs import read_run
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.training.run import train


def assert_same_scores(folder):
    """Accuracy, balanced accuracy and loss of the record follow from the kept logits and labels."""
    run = read_run(folder)
    answers = run.predictions()
    for name, split in answers.splits.items():
        right = split.logits.argmax(axis=1) == split.labels
        recalls = [right[split.labels == k].mean() for k in np.unique(split.labels)]
        loss = -log_softmax(split.logits.astype(float), axis=1)[np.arange(len(right)), split.labels].mean()
        own = run.result[name]
        assert own["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        assert own["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-6)
        assert own["loss"] == pytest.approx(loss, abs=2e-6)
        assert all(Path(run.result["data"]["root"], image).is_file() for image in split.images)
        assert len(set(split.images)) == len(split.images) == run.result["data"][name]
    return answers


@pytest.mark.parametrize(
    "more", [{}, {"strategy": "full_fine_tuning"}, {"cache.enabled": "false"}, {"test_best": "true"}]
)
def test_scores_follow_from_what_is_kept(config, tiny, tmp_path, more):
    train(config(tiny(**more)), tmp_path / "run")
    answers = assert_same_scores(tmp_path / "run")
    assert set(answers.splits) == {"val", "test"}
    assert answers.class_names == [f"drawn species {k}" for k in range(3)]


def test_each_of_many_heads_keeps_its_own(config, tiny, tmp_path):
    result = train(config(tiny(**{"heads.lr": "[1e-3,0.1]"})), tmp_path / "heads")
    kept = [assert_same_scores(tmp_path / "heads" / name) for name in result["heads"]]
    assert not np.allclose(kept[0].splits["test"].logits, kept[1].splits["test"].logits)


def test_what_was_not_measured_is_not_there(config, tiny, tmp_path):
    train(
        config(tiny(trainer__limit_val_batches=0, data__batch_size=4, trainer__limit_test_batches=1)), tmp_path / "run"
    )
    answers = Predictions.read(tmp_path / "run")
    assert set(answers.splits) == {"test"}
    assert len(answers.splits["test"].logits) == len(answers.splits["test"].images) == 4


@pytest.mark.slow
def test_two_processes_keep_them_in_the_images_order(run_command, tiny, tmp_path):
    for devices in (1, 2):
        told = tiny(trainer__devices=devices, data__test_per_class=5, trainer__max_epochs=1)
        done = run_command("train", *told, f"hydra.run.dir={tmp_path / str(devices)}", OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    alone, shared = (assert_same_scores(tmp_path / name).splits for name in ("1", "2"))
    for name in ("val", "test"):
        assert alone[name].images == shared[name].images
        assert (alone[name].labels == shared[name].labels).all()
        # One step of the head apart, by the rounding of averaged gradients: an image out of order would be far off.
        assert np.abs(alone[name].logits - shared[name].logits).max() < 1e-3
        assert np.abs(alone[name].logits - alone[name].logits[::-1]).max() > 1e-2


def test_what_is_written_is_read(tmp_path):
    logits = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    split = SplitPredictions(logits, np.array([0, 1, 1]), ["jpg/ä.jpg", "jpg/b, c.jpg", "jpg/d.jpg"])
    splits = {
        name: SplitPredictions(logits + k, split.labels, split.images)
        for k, name in enumerate(("test", "train", "all"))
    }
    Predictions(["a", "b'<"], splits).write(tmp_path)
    found = Predictions.read(tmp_path)
    assert {name: float(own.logits[0, 0] - logits[0, 0]) for name, own in found.splits.items()} == pytest.approx(
        {"test": 0, "train": 1, "all": 2}, abs=1e-6
    )
    assert found.class_names == ["a", "b'<"]
    assert (found.splits["test"].logits == logits).all()
    assert found.splits["test"].images == split.images
    assert Predictions.read(tmp_path / "elsewhere") is None
    assert json.dumps(found.splits["test"].images)  # plain strings, not numpy's

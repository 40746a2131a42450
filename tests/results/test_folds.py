"""The folds of a setting and seed are compared as one run, which has answered every image once."""

import json

import numpy as np
import pytest

from flowers_tl.report.compare_runs import compare_runs
from flowers_tl.report.summary import summarize
from flowers_tl.results.folds import WHAT_FOLDS_MEAN, JoinedRun, join_folds
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.utils.errors import UserError

# The images of each fold, and by strategy the number of those that are classified rightly.
IMAGES = (["d", "a"], ["e", "b", "f"], ["c"])
RIGHT = {"fine_tuning": (2, 1, 0), "linear_probe": (0, 3, 1)}


@pytest.fixture
def folds(write, tmp_path):
    """Runs of three folds, two strategies and two seeds."""
    for strategy, right in RIGHT.items():
        for seed in (0, 1):
            for fold, images in enumerate(IMAGES):
                data = {"root": "photos", "folds": 3, "fold": fold}
                test = right[fold] / len(images)
                folder = write(f"runs/{strategy}{seed}{fold}", strategy, seed, 0.6 + fold / 10, test, data=data)
                result = json.loads((folder / "result.json").read_text())
                result["data"] = {"train": 4, "val": 2, "test": len(images)}
                splits = {split: f"{split}{fold}" for split in ("train", "val", "test")}
                result |= {"protocol": {"name": "official", "metric": "m", "splits": splits}, "seconds": {"total": 2.0}}
                result |= {"flops": {"forward": 5, "training": 7 + fold}, "peak_memory_gb": 1.0 + fold}
                (folder / "result.json").write_text(json.dumps(result))
                labels = np.array([ord(name) % 2 for name in images])
                logits = np.eye(2)[np.where(np.arange(len(images)) < right[fold], labels, 1 - labels)] * 9
                Predictions(["odd", "even"], {"test": SplitPredictions(logits, labels, images)}).write(folder)
    return tmp_path / "runs"


def test_folds_become_one_run_of_all_images(folds):
    runs, notes = join_folds(find_runs([folds])[0])
    assert notes == [WHAT_FOLDS_MEAN]
    assert len(runs) == 4
    assert all(isinstance(run, JoinedRun) for run in runs)
    groups, repeated = group_runs(runs)
    assert repeated == []
    summary = summarize(groups, notes)
    assert summary.test.images == list("abcdef")
    assert summary.test.labels.tolist() == [1, 0, 1, 0, 1, 0]
    for strategy in summary.strategies:
        right = RIGHT[strategy.label]
        assert strategy.accuracy.values.tolist() == pytest.approx([sum(right) / 6] * 2)
        assert strategy.values("test", "accuracy").tolist() == pytest.approx([sum(right) / 6] * 2)
        assert strategy.val.values.tolist() == pytest.approx([0.7] * 2)
        assert strategy.seconds.values.tolist() == [6.0] * 2
        # The same network in each fold, trained three times, one after the other.
        for name, value in (("forward", 5), ("training", 7 + 8 + 9)):
            assert strategy.values("flops", name).tolist() == [value] * 2
        assert strategy.values("peak_memory_gb").tolist() == [3.0] * 2
        of_image = dict(
            zip("daebfc", [k < n for n, of in zip(right, IMAGES, strict=True) for k in range(len(of))], strict=True)
        )
        assert strategy.predictions.correct[0].tolist() == [of_image[name] for name in "abcdef"]
    assert not [note for note in summary.notes if "different test accuracies" in note]


def test_compare_says_what_overlapping_training_sets_mean(folds, tmp_path, capsys):
    compare_runs([folds], out=tmp_path / "out")
    assert "Bengio and Grandvalet 2004" in (tmp_path / "out" / "comparison.md").read_text()
    assert "Bengio" in capsys.readouterr().out


def test_a_lacking_fold_is_not_passed_over(folds):
    for file in (folds / "fine_tuning01").iterdir():
        file.unlink()
    runs, _ = join_folds(find_runs([folds])[0])
    assert len(runs) == 5
    with pytest.raises(UserError, match="other train images"):
        compare_runs([folds])


def test_the_newer_of_two_runs_of_a_fold_is_taken(folds):
    runs, _ = find_runs([folds])
    twice, notes = join_folds([*runs, runs[0]][::-1])
    assert len(twice) == 4
    assert sum("is left out" in note for note in notes) == 1
    assert join_folds([run for run in runs if run.config["data.fold"] != 2])[1] == []

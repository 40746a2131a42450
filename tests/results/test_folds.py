"""The folds of a setting and seed are compared as one run, which has answered every image once.

``python tests/results/test_folds.py 1000`` prints how often the intervals of joined folds hold the truth, in so many drawn data sets.
"""

import json
import sys

import numpy as np
import pytest
from scipy.special import ndtr

from flowers_tl.report.compare_runs import compare_runs
from flowers_tl.report.summary import summarize
from flowers_tl.results.folds import WHAT_FOLDS_MEAN, JoinedRun, join_folds
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.results.statistics import difference, mean_interval
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


def cross_validate(generator, images, seeds, used, folds=5, features=20):
    """Solved heads on the first ``used`` features of a drawn data set of two classes, in each fold and seed without a fifth of train.

    Returns:
        Answers (three seeds, images), and the true accuracy over new images by seed, the mean of its five heads (seeds,).
    """
    centre = np.full(features, 1.28 / np.sqrt(features))
    # Classes alternate, and pairs go to the folds in turn.
    labels, fold = np.where(np.arange(images) % 2, 1, -1), np.arange(images) // 2 % folds
    inputs = generator.normal(size=(images, features)) + np.outer(labels, centre)
    for count in used:
        x, hits, truth = inputs[:, :count], np.zeros((3, images)), np.zeros((seeds, folds))
        for seed, k in np.ndindex(seeds, folds):
            train = (fold != k) & (generator.random(images) < 0.8)
            known = x[train]
            head = np.linalg.solve(known.T @ known + np.eye(count), known.T @ labels[train])
            truth[seed, k] = ndtr(head @ centre[:count] / np.linalg.norm(head))
            if seed < 3:
                hits[seed, fold == k] = x[fold == k] @ head * labels[fold == k] > 0
        yield hits, truth.mean(axis=1)


def coverage_of_folds(images, draws, seed=0):
    """Coverage by (measure, seeds): of the truth for these training sets, for new data sets, and the width that the latter needs.

    The width is a multiple: the standard deviation of the estimate around the truth, beside what the interval takes for it.
    """
    generator, rows = np.random.default_rng([seed, images]), {}
    for _ in range(draws):
        (a, true_a), (b, true_b) = cross_validate(generator, images, 13, (20, 10))
        # One seed is about these very heads, three about new seeds on these images.
        for count, some in ((1, slice(0, 1)), (3, slice(3, None))):
            measures = {"accuracy": (mean_interval(a[:count]), true_a[some].mean())}
            measures["difference"] = (difference(a[:count], b[:count], paired=True), (true_a - true_b)[some].mean())
            for name, (interval, truth) in measures.items():
                rows.setdefault((name, count), []).append((interval.value, interval.low, interval.high, truth))
    answers = {}
    for key, row in rows.items():
        value, low, high, truth = np.array(row).T
        new = truth.mean()
        width = np.std(value) / ((high - low).mean() / 2 / 1.96)
        answers[key] = (((low <= truth) & (truth <= high)).mean(), ((low <= new) & (new <= high)).mean(), width)
    return answers


@pytest.mark.slow
def test_joined_folds_hold_the_truth_nearly_as_often_as_they_say():
    for key, (these, new, _) in coverage_of_folds(300, 400).items():
        assert min(these, new) > 0.88, key


if __name__ == "__main__":
    for size in (100, 300, 1000):
        for (name, seeds), (these, new, width) in coverage_of_folds(size, int(sys.argv[1])).items():
            shown = f"these training sets {100 * these:.1f} %, new data sets {100 * new:.1f} %, width {width:.2f}"
            print(f"{size} images, {name}, {seeds} seeds: {shown}", flush=True)

"""Scores of a split agree with torchmetrics and scikit-learn's definitions, class by class too."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torchmetrics.functional import classification as of_torchmetrics

from flowers_tl.models.metrics import make_metrics
from flowers_tl.results.scores import compute_scores, confusion, read_monitor, report_by_class, worst_mistakes
from flowers_tl.results.statistics import probabilities
from flowers_tl.utils.errors import UserError


def test_scores_are_those_that_training_reports(answered):
    logits, labels = answered
    found = compute_scores(logits, labels)
    counted = make_metrics(7)(torch.tensor(logits), torch.tensor(labels))
    assert found["accuracy"] == pytest.approx(counted["accuracy"].item(), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(counted["balanced_accuracy"].item(), abs=1e-6)
    assert found["loss"] == pytest.approx(
        torch_cross_entropy(torch.tensor(logits), torch.tensor(labels)).item(), abs=1e-6
    )
    assert found["right"] == round(found["accuracy"] * found["pictures"])
    assert found["top5"] > found["accuracy"]


def test_f1_auroc_and_average_precision_are_those_of_torchmetrics(answered):
    # Equal probabilities too. torchmetrics counts absent classes otherwise, so here every class occurs.
    logits, labels = answered[0].round(), answered[0].argmax(axis=1)
    labels[::3] = answered[1][::3]
    assert len(set(labels.tolist())) == 7
    # There a last digit, which the order of a sum decides, would rank equal ones.
    shares = torch.tensor(probabilities(logits).round(12))
    found, tensors = compute_scores(logits, labels), (shares, torch.tensor(labels))
    for name, function in (
        ("macro_f1", of_torchmetrics.multiclass_f1_score),
        ("auroc", of_torchmetrics.multiclass_auroc),
        ("average_precision", of_torchmetrics.multiclass_average_precision),
    ):
        assert found[name] == pytest.approx(function(*tensors, num_classes=7, average="macro").item(), abs=1e-6), name


def test_classes_that_do_not_occur_are_left_out_as_in_scikit_learn():
    logits, labels = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), np.array([0, 1, 1])
    found = compute_scores(logits, labels)
    # Of the class 0 one right and one wrong answer, of the class 1 one of two images found; the class 2 is nowhere.
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["auroc"] == found["average_precision"] == 1
    assert np.isnan(compute_scores(logits, np.array([1, 1, 1]))["auroc"])


def test_a_monitor_is_any_metric_and_its_direction_is_known():
    assert [read_monitor(f"val/{name}").sign for name in ("loss", "calibration_error", "accuracy", "auroc")] == [
        -1,
        -1,
        1,
        1,
    ]
    for wrong in ("val/acuracy", "accuracy", "test/accuracy", None):
        with pytest.raises(UserError, match=r"monitor=.* is unknown"):
            read_monitor(wrong)


def test_confusion_counts_true_classes_in_rows():
    logits = np.eye(3)[[0, 1, 1, 2]]
    counts = confusion(logits, np.array([0, 0, 1, 1]))
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert confusion(logits[:1], np.array([4])).tolist() == [[0] * 5] * 4 + [[1, 0, 0, 0, 0]]  # no output for class 4


def test_the_surest_mistake_comes_first_and_what_is_no_number_is_none():
    shares = np.array([[0.9, 0.1, 0], [0.7, 0.3, 0], [0.2, 0.4, 0.4], [0.1, 0.9, 0], [np.nan] * 3, [0.9, 0.1, 0]])
    labels = np.array([0, 1, 0, 2, 1, 1])
    assert worst_mistakes(shares, labels, 8).tolist() == [3, 5, 1, 2]  # of equals the first
    assert worst_mistakes(shares, labels, 1).tolist() == [3]
    assert worst_mistakes(shares[:1], labels[:1], 8).tolist() == []


def test_classes_come_least_recognised_first_with_what_they_are_taken_for():
    counts = np.array([[8, 2, 0, 0], [3, 4, 3, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    rows = report_by_class(counts, ["a", "b", "c", "d"])
    assert [row["class"] for row in rows] == ["b", "a", "d"]
    assert rows[0] == {"class": "b", "pictures": 10, "recall": 0.4, "precision": 4 / 6, "taken_for": "a", "times": 3}
    assert rows[2]["taken_for"] is None


def test_a_class_that_is_never_answered_has_no_precision():
    (row, _) = report_by_class(np.array([[0, 4], [0, 4]]), ["a", "b"])
    assert row["precision"] is None

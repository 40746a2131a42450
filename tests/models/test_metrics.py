"""Scores are what they are called, and means over images."""

import pytest
import torch

from flowers_tl.models.metrics import BalancedAccuracy, MeanLoss


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    predictions = torch.eye(5)[[0, 0, 0, 1, 1, 3, 2]]  # class 3 is predicted, and never true
    metric = BalancedAccuracy(num_classes=5)
    metric.update(predictions[:3], labels[:3])
    metric.update(predictions[3:], labels[3:])
    assert metric.compute().item() == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)


def test_a_mean_loss_weighs_each_batch_by_its_images_and_keeps_what_is_no_number():
    metric = MeanLoss()
    metric.update(torch.tensor(1.0), 3)
    metric.update(torch.tensor(5.0), 1)
    assert metric.compute().item() == 2
    metric.update(torch.tensor(float("nan")), 1)
    assert metric.compute().isnan()

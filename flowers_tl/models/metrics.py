"""What is measured of a split: exact over any number of devices, and named as in scikit-learn."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class BalancedAccuracy(Metric):
    """Mean of the recalls of the classes that occur in the targets, as in scikit-learn's ``balanced_accuracy_score``.

    torchmetrics' macro average also counts a class that occurs only among the predictions, as a recall of 0, and where
    PyTorch is set to be deterministic takes longer to count than a head does to train.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("right", "support"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        right = (logits.argmax(dim=1) == labels).long()
        self.right.index_add_(0, labels, right)
        self.support.index_add_(0, labels, torch.ones_like(right))

    def compute(self) -> Tensor:
        occurs = self.support > 0
        return (self.right[occurs] / self.support[occurs]).mean()


class MeanLoss(Metric):
    """Mean of the losses of batches, each as often as it has images; NaN where one is NaN.

    torchmetrics' MeanMetric leaves NaN out, and waits for the device in each step to look for it.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, count: int) -> None:
        self.total += loss * count
        self.count += count

    def compute(self) -> Tensor:
        return self.total / self.count


# What a run measures beside its loss, by name, each made from the number of classes. ``history.csv``, ``result.json`` and the
# terminal loop over them. `evaluate` and the report have more, from kept predictions: METRICS in results/scores.py.
EPOCH_METRICS: dict[str, Callable[[int], Metric]] = {
    "accuracy": lambda num_classes: MulticlassAccuracy(num_classes, average="micro"),
    "balanced_accuracy": BalancedAccuracy,
}


def make_metrics(num_classes: int, names: Iterable[str] = EPOCH_METRICS) -> MetricCollection:
    """Metrics over logits (n, num_classes) and labels (n,), exact over any number of devices."""
    return MetricCollection({name: EPOCH_METRICS[name](num_classes) for name in names})

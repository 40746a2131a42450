"""What is measured of a split: exact over any number of devices, and named as in scikit-learn."""

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores


class BalancedAccuracy(MulticlassStatScores):
    """Mean of the recalls of the classes that occur in the targets, as in scikit-learn's ``balanced_accuracy_score``.

    torchmetrics' macro average also counts a class that occurs only among the predictions, as a recall of 0.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None)

    def compute(self) -> Tensor:
        true_positives, _, _, _, support = super().compute().unbind(-1)
        return (true_positives / support)[support > 0].mean()


def scores(num_classes: int, *names: str) -> MetricCollection:
    """Metrics over logits (n, num_classes) and labels (n,), exact over any number of devices."""
    make = {
        "accuracy": lambda: MulticlassAccuracy(num_classes, average="micro"),
        "balanced_accuracy": lambda: BalancedAccuracy(num_classes),
    }
    return MetricCollection({name: make[name]() for name in names})

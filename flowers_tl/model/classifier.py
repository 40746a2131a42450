"""The one LightningModule: a backbone, a strategy, and nothing that depends on a strategy's name."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from flowers_tl.data.sampling import derive_seed
from flowers_tl.errors import UserError
from flowers_tl.model.backbone import Backbone
from flowers_tl.model.strategy import Group, Strategy


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


class TransferClassifier(L.LightningModule):
    """A backbone of which the strategy's stages learn, and the rest is frozen.

    Frozen means: no gradient, in no parameter group, and in eval mode, so that neither weights nor BatchNorm
    statistics move (``frozen_batchnorm: train`` exempts the statistics). The constructor leaves the weights random;
    :func:`flowers_tl.model.weights.load_weights` or a checkpoint fills them.

    Args:
        backbone: name of an architecture, see :data:`flowers_tl.model.backbone.ARCHITECTURES`.
        num_classes: number of classes.
        strategy: a :class:`Strategy` as plain Python (:meth:`Strategy.to_dict`).
        class_names: one name a class, kept in the checkpoint for whoever predicts with it.
        seed: from which the randomness of training (dropout) follows, epoch by epoch.

    Raises:
        UserError: if the backbone is unknown or the strategy does not fit it.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        strategy: dict[str, Any],
        class_names: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # plain Python, so that the checkpoint loads with weights_only=True
        self.backbone = Backbone(backbone, num_classes)
        self.strategy = Strategy.from_dict(strategy)
        self.groups = self.strategy.groups(self.backbone.stage_names, self.backbone.feature_names)
        self.learning = {name for group in self.groups for name in group.stages}
        for stage in self.backbone.stages:
            for parameter in self.backbone.parameters_of(stage):
                parameter.requires_grad_(stage.name in self.learning)
        if not self.parameter_counts["trainable"]:
            raise UserError(
                f"Strategy '{self.strategy.name}' names only stages that have no parameters: add one that has."
            )
        self.train_scores = scores(num_classes, "accuracy")
        self.val_scores = scores(num_classes, "accuracy", "balanced_accuracy")
        self.test_scores = scores(num_classes, "accuracy", "balanced_accuracy")
        self.losses = nn.ModuleDict({f"{split}_loss": MeanMetric() for split in ("train", "val", "test")})
        self.train()

    def train(self, mode: bool = True) -> "TransferClassifier":
        """Switch to train mode where the strategy says so: frozen stages stay in eval mode whoever calls this."""
        super().train(mode)
        for stage in self.backbone.stages:
            if mode and stage.name not in self.learning:
                for module in self.backbone.modules_of(stage):
                    follows = isinstance(module, nn.modules.batchnorm._BatchNorm)
                    module.training = follows and self.strategy.frozen_batchnorm == "train"
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures (n, 3, height, width) to logits (n, num_classes)."""
        return self.backbone(pictures)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over one parameter group a row of the table, named for it."""
        return torch.optim.Adam(
            [
                {"params": parameters, "lr": group.lr, "name": group.name}
                for group, parameters in self.parameters_by_group()
            ]
        )

    def parameters_by_group(self) -> list[tuple[Group, list[nn.Parameter]]]:
        """Groups of the table that have parameters, with them; a neck that only pools has none."""
        stages = {stage.name: stage for stage in self.backbone.stages}
        found = [(g, [p for name in g.stages for p in self.backbone.parameters_of(stages[name])]) for g in self.groups]
        return [(group, parameters) for group, parameters in found if parameters]

    def stage_rows(self) -> list[tuple[str, int, int, float | None]]:
        """For each stage: name, parameters, how many of them learn, and the learning rate (None where frozen)."""
        rates = {name: group.lr for group in self.groups for name in group.stages}
        rows = []
        for stage in self.backbone.stages:
            parameters = list(self.backbone.parameters_of(stage))
            learning = sum(p.numel() for p in parameters if p.requires_grad)
            rows.append((stage.name, sum(p.numel() for p in parameters), learning, rates.get(stage.name)))
        return rows

    @property
    def parameter_counts(self) -> dict[str, int]:
        """``total`` number of parameters, and how many are ``trainable``."""
        parameters = list(self.backbone.parameters())
        return {
            "total": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        }

    def on_train_epoch_start(self) -> None:
        # Lightning's checkpoints hold no random state: what this epoch draws must not depend on what came before it.
        torch.manual_seed(derive_seed(self.hparams.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "test")

    def _step(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        """Count one batch of (pictures, labels) into the split's loss and scores; return its mean cross-entropy."""
        pictures, labels = batch
        logits = self(pictures)
        loss = cross_entropy(logits, labels)
        mean, counted = self.losses[f"{split}_loss"], getattr(self, f"{split}_scores")
        mean.update(loss.detach(), weight=len(labels))
        counted.update(logits.detach(), labels)
        how = {"on_step": False, "on_epoch": True, "prog_bar": True}
        self.log(f"{split}/loss", mean, **how)
        for name, metric in counted.items():
            self.log(f"{split}/{name}", metric, **how)
        return loss

"""The one LightningModule: a backbone, a strategy, and nothing that depends on a strategy's name."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.transforms import Preprocessing
from flowers_tl.models.adapters import add_adapters
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_heads import replace_head
from flowers_tl.models.metrics import MeanLoss, make_metrics
from flowers_tl.models.optim import image_losses, make_mixing, make_optimizer, make_schedule
from flowers_tl.models.strategy import ParameterGroup, Strategy
from flowers_tl.utils.errors import UserError

# Images, uint8 or normalised, and labels; or features, labels, and the name of the stage that the features enter.
Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, str]


class TransferClassifier(L.LightningModule):
    """A backbone of which the strategy's stages are trained, each from its epoch on; the rest is frozen.

    Frozen means: no gradient, no step of the optimizer, and in eval mode, so that neither weights nor BatchNorm
    statistics move (``frozen_batchnorm: train`` exempts the statistics). The constructor leaves the weights random;
    :func:`flowers_tl.models.pretrained.load_weights` or a checkpoint fills them.

    Args:
        backbone: name of a network, as :class:`StagedNetwork` takes it.
        num_classes: number of classes.
        strategy: a :class:`Strategy` as plain Python.
        class_names, image_size, preprocessing: one name a class, the side in pixels of its images, and how they are prepared
            (see :class:`flowers_tl.data.transforms.Preprocessing`; None: as the article does), as plain Python; kept in the
            checkpoint for whoever predicts with it.
        class_weights: by which the training loss of each class's images is multiplied; None: all count alike.
        seed: from which the randomness of training (dropout, mixing) follows, epoch by epoch.
        optimizer: see :func:`flowers_tl.models.optim.make_optimizer`.
        scheduler: see :func:`flowers_tl.models.optim.make_schedule`.
        regularisation: ``label_smoothing``, ``mixup`` and ``cutmix``; all act on the training loss alone.

    Raises:
        UserError: if the backbone is unknown or the strategy does not fit it.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        strategy: Mapping[str, Any],
        class_names: Sequence[str] = (),
        image_size: int = 224,
        preprocessing: Mapping[str, Any] | None = None,
        class_weights: Sequence[float] | None = None,
        seed: int = 0,
        optimizer: Mapping[str, Any] = {"name": "adam"},
        scheduler: Mapping[str, Any] = {"name": "constant"},
        regularisation: Mapping[str, Any] = {},
    ) -> None:
        super().__init__()
        # Plain Python, so that the checkpoint loads with weights_only=True.
        self.save_hyperparameters()
        self.backbone = StagedNetwork(backbone, num_classes, image_size, Preprocessing(**preprocessing or {}))
        self.strategy = Strategy.from_dict(strategy)
        add_adapters(self.backbone, self.strategy)
        replace_head(self.backbone, self.strategy, num_classes, image_size)
        self.groups = self.strategy.make_groups(self.backbone.parameter_kinds(), self.backbone.feature_stage_names)
        self.mixing = make_mixing(regularisation, num_classes)
        self.label_smoothing = regularisation.get("label_smoothing") or 0.0
        weights = None if class_weights is None else torch.tensor(class_weights)
        # Not persistent: the hyper-parameters hold them.
        self.register_buffer("class_weights", weights, persistent=False)
        self.train_scores = make_metrics(num_classes, ["accuracy"])
        self.val_scores = make_metrics(num_classes)
        self.test_scores = make_metrics(num_classes)
        self.losses = nn.ModuleDict({f"{split}_loss": MeanLoss() for split in ("train", "val", "test")})
        # The weights to which `l2_sp` pulls, by name.
        self.anchors: dict[str, Tensor] = {}
        # Until an epoch begins all that is ever trainable requires gradients: DDP, which wraps the module before, shares
        # no gradient that was not required then.
        self.enter_epoch(None)
        if not self.parameter_counts["trainable"] and self.strategy.head != "neighbours":
            raise UserError(
                f"Strategy '{self.strategy.name}' names only stages without parameters: add a stage that has some."
            )

    def enter_epoch(self, epoch: int | None) -> None:
        """Make trainable what the table trains in ``epoch`` (None: in any), and freeze the rest."""
        begun = [group for group in self.groups if epoch is None or group.from_epoch <= epoch]
        self.trainable_stages = {stage for group in begun for stage in group.stages}
        names = {name for group in begun for name in group.parameters}
        for name, parameter in self.backbone.network.named_parameters():
            parameter.requires_grad_(name in names)
        self.train(self.training)

    def train(self, mode: bool = True) -> "TransferClassifier":
        """Switch to train mode where the strategy says so: what is frozen stays in eval mode whoever calls this."""
        super().train(mode)
        for stage in self.backbone.stages if mode else ():
            for module in self.backbone.modules_of(stage):
                norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
                weights = list(module.parameters(recurse=False))
                # A norm layer without trainable weights is frozen, statistics and all, in a trainable stage too.
                fixed = norm and weights and not any(weight.requires_grad for weight in weights)
                frozen = stage.name not in self.trainable_stages or fixed
                module.training = not frozen or (norm and self.strategy.frozen_batchnorm == "train")
        return self

    def forward(self, inputs: Tensor, start: str | None = None) -> Tensor:
        """Map normalised images (n, 3, height, width) to logits (n, num_classes).

        With ``start`` the inputs are what enters that stage, (n, ...): features of the frozen stages before it.
        """
        inputs = inputs.to(next(self.backbone.parameters()).dtype)
        logits = self.backbone(inputs) if start is None else self.backbone.run(inputs, start)
        # Losses and scores of a network in half precision are not in half precision.
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def configure_optimizers(self) -> dict[str, Any]:
        """One parameter group for each of the table's, all from the start, whether they are trained yet or not."""
        optimizer = make_optimizer(self.parameters_by_group(), self.hparams.optimizer)
        if self.hparams.scheduler["name"] == "constant":
            return {"optimizer": optimizer}
        trainer = self.trainer
        # First: it also sets up the data, which knows the number of batches.
        steps = trainer.estimated_stepping_batches
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        schedule = make_schedule(optimizer, self.hparams.scheduler, steps, per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def parameters_by_group(self) -> list[tuple[ParameterGroup, list[nn.Parameter]]]:
        """Groups of the table that have parameters, with them; a neck that only pools has none."""
        named = dict(self.backbone.network.named_parameters())
        return [(group, [named[name] for name in group.parameters]) for group in self.groups if group.parameters]

    def stage_rows(self) -> list[tuple[str, int, int, str, list[ParameterGroup]]]:
        """For each stage: name, parameters, how many of them are trainable, what its head begins from if not at random, and its groups.

        Trainable are those that are trained in any epoch, and those of a head that is solved.
        """
        trainable = {name for group in self.groups for name in group.parameters}
        rows = []
        for stage in self.backbone.stages:
            sizes = {n: p.numel() for n, p in self.backbone.network.named_parameters() if stage.owns(n)}
            solved = self.strategy.head if stage.name == "head" and self.strategy.head != "random" else ""
            count = sum(size for name, size in sizes.items() if solved or name in trainable)
            groups = [group for group in self.groups if stage.name in group.stages]
            rows.append((stage.name, sum(sizes.values()), count, solved, groups))
        return rows

    @property
    def parameter_counts(self) -> dict[str, int]:
        """``total`` number of parameters, and how many are ``trainable`` at any time of the run."""
        _, totals, trainable, *_ = zip(*self.stage_rows(), strict=True)
        return {"total": sum(totals), "trainable": sum(trainable)}

    def on_train_epoch_start(self) -> None:
        self.enter_epoch(self.current_epoch)
        # Lightning's checkpoints hold no random state: what this epoch draws must not depend on what came before it.
        torch.manual_seed(derive_seed(self.hparams.seed, self.current_epoch, self.global_rank))

    def keep_anchors(self) -> None:
        """Take the weights as they are for those to which ``l2_sp`` pulls. No checkpoint holds them: a run that goes on loads them again."""
        names = {name for group in self.groups if group.l2_sp for name in group.parameters}
        self.anchors = {n: p.detach().clone() for n, p in self.backbone.network.named_parameters() if n in names}

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the gradient of l2_sp / 2 times the squared distance from the pretrained weights, before gradients are clipped."""
        for group, parameters in self.parameters_by_group() if self.anchors else ():
            for name, parameter in zip(group.parameters, parameters, strict=True):
                if group.l2_sp and parameter.grad is not None:
                    self.anchors[name] = anchor = self.anchors[name].to(parameter.device)
                    parameter.grad.add_(parameter - anchor, alpha=group.l2_sp)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: normalise uint8 images, and mix those of a training batch.

        Mixed labels (n,) become shares of the classes (n, num_classes).
        """
        images, labels, *start = batch
        if start:
            return batch
        images = self.backbone.normalise(images) if images.dtype == torch.uint8 else images
        if self.mixing is None or self._trainer is None or not self.trainer.training:
            return images, labels
        return self.mixing(images, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The batch's part in the loss of its optimizer step: the mean over all images of that step, on all devices."""
        inputs, labels, *start = batch
        logits = self(inputs, *start)
        loss = image_losses(logits, labels, self.class_weights, self.label_smoothing).mean()
        self._count("train", loss, logits, labels.argmax(dim=1) if labels.ndim == 2 else labels, batch_idx)
        together = self.trainer.accumulate_grad_batches if self._trainer else 1
        if together > 1:
            # Lightning adds up the means of batches, each divided by their full number: wrong for an epoch's last images.
            loader, first = self.trainer.train_dataloader, batch_idx - batch_idx % together
            end = min(first + together, self.trainer.num_training_batches) * loader.batch_size
            loss = loss * (len(labels) * together / (min(end, len(loader.sampler)) - first * loader.batch_size))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._evaluate(batch, batch_idx, "test")

    def _evaluate(self, batch: Batch, batch_idx: int, split: str) -> Tensor:
        """Count a batch into the split's scores and return its logits (n, num_classes).

        The loss is plain cross-entropy, whatever the training loss was: so it can be compared between runs.
        """
        inputs, labels, *start = batch
        logits = self(inputs, *start)
        self._count(split, cross_entropy(logits, labels), logits, labels, batch_idx)
        return logits

    def _count(self, split: str, loss: Tensor, logits: Tensor, labels: Tensor, batch_idx: int) -> None:
        """Count a batch with mean ``loss`` (), ``logits`` (n, num_classes) and ``labels`` (n,) into the split's scores."""
        mean, counted = self.losses[f"{split}_loss"], getattr(self, f"{split}_scores")
        mean.update(loss.detach(), len(labels))
        counted.update(logits.detach(), labels)
        # Lightning computes a metric at the epoch's end; to log it at each step costs as much as the step.
        if batch_idx:
            return
        how = {"on_step": False, "on_epoch": True, "prog_bar": True}
        self.log(f"{split}/loss", mean, **how)
        for name, metric in counted.items():
            self.log(f"{split}/{name}", metric, **how)

"""A run whose numbers are not finite any more ends where that shows, and keeps its last good checkpoint."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.callbacks import GroupCurves, find_callback
from flowers_tl.utils.errors import UserError

# Later than any batch.
NEVER = 2**62
# The numbers of a step, in the order in which they are computed.
ORDER = ("BatchNorm statistics", "the loss", "the gradients", "the weights")


class Diverged(UserError):
    """Ends a run whose numbers are not finite. Its record says ``diverged``.

    Args:
        what: is not finite.
        step: of the optimizer, counted from 1; 0 where nothing was trained.
        epoch: counted from 0.
        rates: learning rates of that step by group.
        kept: what is left of the run that is good.
    """

    status = "diverged"

    def __init__(self, what: str, step: int, epoch: int, rates: Mapping[str, float], kept: str) -> None:
        named = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
        where = f" at step {step} in epoch {epoch + 1}, with the learning rates {named}" if step else ""
        super().__init__(
            f"The run diverged: {what} became NaN or infinite{where}; {kept}; start a new run with lower learning rates or with "
            "trainer.gradient_clip_val."
        )


class DivergenceCheck(Callback):
    """Note on the device, without waiting for it, what shows whether a step's numbers are finite; end the run at the first
    whose are not.

    The notes are read at each epoch's end and after each validation, before anything is kept, and so is the loss of val
    and test. Gradients are looked at through their norm, as :class:`GroupCurves` has measured it. With fp16's gradient
    scaler, which skips a step whose loss or gradients are not finite, only weights and BatchNorm statistics count.

    Args:
        checkpoints: the folder where the run keeps its checkpoints.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.last = checkpoints / "last.ckpt"
        # One a batch: a sum for each of ORDER, which is finite where all its numbers are.
        self.sums: list[Tensor] = []
        # The step of each sum, and its rates by group.
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.epoch = 0

    def on_train_start(self, trainer: Trainer, module: TransferClassifier) -> None:
        self.curves = find_callback(trainer, GroupCurves)
        self.scaled = getattr(trainer.precision_plugin, "scaler", None) is not None

    def on_train_batch_start(self, trainer: Trainer, module: TransferClassifier, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.sums, self.steps, self.epoch = [], [], trainer.current_epoch
            self.weights = [p for p in module.parameters() if p.requires_grad]
            norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
            self.statistics = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
        groups = trainer.optimizers[0].param_groups
        rates = {group["name"]: group["lr"] for group in groups if group["params"][0].requires_grad}
        self.steps.append((trainer.global_step + 1, rates))

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: TransferClassifier, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"].float()
        gradients = zero = loss.new_zeros(())
        if self.scaled:
            loss = zero
        else:
            # Before the first step of accumulated batches there is no norm yet.
            gradients = sum((norms[-1] for norms in self.curves.norms.values() if norms), zero)
        self.sums.append(
            torch.stack([finite_sum(self.statistics, zero), loss, gradients, finite_sum(self.weights, zero)])
        )

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self.read(trainer)

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.read(trainer, "val")

    def on_test_end(self, trainer: Trainer, *_: Any) -> None:
        self.read(trainer, "test")

    def read(self, trainer: Trainer, split: str | None = None) -> None:
        """Raise :class:`Diverged` if a batch's numbers were not finite in any process, or the split's loss is not."""
        number, what = self.first_bad_batch(trainer) if self.sums else (NEVER, "")
        if number == NEVER:
            if math.isfinite(trainer.callback_metrics.get(f"{split}/loss", 0.0)):
                return
            number, what = -1, f"the {split} loss"
        step, rates = self.steps[number] if self.steps else (0, {})
        last = self.last if self.last.is_file() else trainer.ckpt_path
        kept = f"the last good checkpoint is {last}" if last else "no epoch was finished, so there is no checkpoint"
        raise Diverged(what, step, self.epoch, rates, kept)

    def first_bad_batch(self, trainer: Trainer) -> tuple[int, str]:
        """Number of the epoch's first batch whose numbers were not finite in any process, or NEVER, and which were not."""
        sums = torch.stack(self.sums)
        batches = torch.arange(len(sums), device=sums.device)[:, None]
        firsts = torch.where(sums.isfinite(), NEVER, batches).amin(dim=0)
        numbers = trainer.strategy.all_gather(firsts).view(-1, len(ORDER)).amin(dim=0).tolist()
        return min(numbers), ", ".join(kind for kind, n in zip(ORDER, numbers, strict=True) if n == min(numbers))


def finite_sum(tensors: Sequence[Tensor], zero: Tensor) -> Tensor:
    """A sum that is finite where all numbers are, and else not, unless numbers come near the largest float."""
    if tensors and tensors[0].is_cuda:
        # One kernel for many tensors. On a CPU it is slower than a sum each.
        return get_total_norm(tensors, 1.0)
    return sum((tensor.sum() for tensor in tensors), zero)

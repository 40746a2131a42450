"""What is recorded while a run trains: one row an epoch, the learning rates, and what the training pictures look like."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.progress import BarColumn, ProgressColumn
from torchvision.utils import make_grid

from flowers_tl.data.transforms import denormalise
from flowers_tl.results.run import RunFolder


class History(Callback):
    """Write each epoch's losses, scores and learning rates to ``history.csv`` (TensorBoard has them from the module)."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    validated_at = -1  # the step at which the val scores were last measured

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validated_at = trainer.global_step

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.began_at = trainer.global_step
        self.rates = {f"lr/{group['name']}": group["lr"] for group in trainer.optimizers[0].param_groups}
        if trainer.logger:
            trainer.logger.log_metrics(self.rates, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        stale = "val/" if self.validated_at <= self.began_at else None  # an earlier epoch's, still shown by Lightning
        for name, value in trainer.callback_metrics.items():
            if not (stale and name.startswith(stale)):
                row[name] = round(float(value), 6)
        self.run.append_history(row | self.rates)


class PictureGrid(Callback):
    """Show one training batch in TensorBoard as the network sees it: cropped, flipped, back in natural colours."""

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero and trainer.logger:
            grid = make_grid(denormalise(batch[0]).cpu(), nrow=8)
            trainer.logger.experiment.add_image("train/pictures", grid, 0)


class ProgressBar(RichProgressBar):
    """One line an epoch that stays when it is done and fits into 80 columns: loss and accuracy of train and val."""

    def __init__(self) -> None:
        super().__init__(leave=True)

    def configure_columns(self, trainer: L.Trainer) -> list[ProgressColumn]:
        description, _, batches, time, _ = super().configure_columns(trainer)
        return [description, BarColumn(bar_width=6), batches, time]

    def get_metrics(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, str]:
        now = trainer.progress_bar_metrics
        return {
            split: f"{now[f'{split}/loss']:.3f} {now[f'{split}/accuracy']:.0%}"
            for split in ("train", "val")
            if f"{split}/loss" in now
        }

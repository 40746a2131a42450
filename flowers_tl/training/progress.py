"""The progress of a run: a bar an epoch in a terminal, a plain line an epoch in a file or a pipe."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.progress import BarColumn, ProgressColumn, TimeRemainingColumn
from rich.table import Column

from flowers_tl.utils.notes import log


class ProgressBar(RichProgressBar):
    """One line an epoch, as wide as the terminal, that stays when it is done: loss and accuracy of train and val."""

    # The split that a test measures.
    measured = "test"

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=True)

    @property
    def test_description(self) -> str:
        return f"Measuring {self.measured}"

    validation_description = "Measuring val"

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        description, _, batches, *_ = super().configure_columns(trainer)
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
        return [description, bar, batches, TimeRemainingColumn(compact=True, elapsed_when_finished=True)]

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        if self.progress is not None:
            self.progress.expand = True

    def _get_train_description(self, current_epoch: int) -> str:
        return epoch_title(self.trainer)

    def get_metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, str]:
        return describe_epoch(trainer)


class EpochLines(Callback):
    """In the place of the bar, where the output is a file or a pipe: a plain line an epoch."""

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        scores = ", ".join(f"{name} {values}" for name, values in describe_epoch(trainer).items())
        log.info(f"{epoch_title(trainer)}: {scores}")


def epoch_title(trainer: Trainer) -> str:
    """The epoch, counted from 1, and how many there are."""
    of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"Epoch {trainer.current_epoch + 1}{of}"


def describe_epoch(trainer: Trainer) -> dict[str, str]:
    """Loss and accuracy as far as they are known: of train, and behind the slash of val."""
    now = trainer.progress_bar_metrics
    splits = [split for split in ("train", "val") if f"{split}/loss" in now]
    names = {f"{'/'.join(splits)} loss": ("loss", ".3f"), "accuracy": ("accuracy", ".0%")} if splits else {}
    return {
        title: "/".join(f"{now[f'{split}/{name}']:{form}}" for split in splits) for title, (name, form) in names.items()
    }

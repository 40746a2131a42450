"""A trial of a search that falls behind the others is stopped early."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn


class Pruned(Exception):
    """Ends a run that is not worth its other epochs; no error, and so its record says ``pruned``."""

    status = "pruned"


class PruningCallback(Callback):
    """Tell Optuna's ``trial`` the val accuracy of each epoch; stop the run where Optuna would.

    Not in the first third of the epochs: there a low rate is behind because it is slow, and may end beside the best.
    Val is all it sees: the test images are not read in a trial.
    """

    def __init__(self, trial: Any) -> None:
        self.trial, self.told = trial, -1

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        epoch, accuracy = trainer.current_epoch, trainer.callback_metrics.get("val/accuracy")
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or accuracy is None or epoch == self.told:
            return
        self.told = epoch
        self.trial.report(float(accuracy), epoch)
        if trainer.max_epochs / 3 <= epoch + 1 < trainer.max_epochs and self.trial.should_prune():
            raise Pruned(f"after epoch {epoch} val accuracy {float(accuracy):.1%} was below the other trials' median")

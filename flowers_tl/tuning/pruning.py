"""Stop a trial of a search early if it falls behind the others."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from flowers_tl.results.scores import Metric


class Pruned(Exception):
    """Ends a run that is not worth its other epochs; no error, and so its record says ``pruned``."""

    status = "pruned"


class PruningCallback(Callback):
    """Report the monitored ``metric`` of each epoch to Optuna's ``trial``; stop the run if Optuna would.

    Not in the first third of the epochs: there a low learning rate is behind because it is slow, and may end as the best.
    """

    def __init__(self, trial: Any, metric: Metric) -> None:
        self.trial, self.metric, self.reported = trial, metric, -1

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        epoch, score = trainer.current_epoch, trainer.callback_metrics.get(f"val/{self.metric.name}")
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or score is None or epoch == self.reported:
            return
        self.reported = epoch
        self.trial.report(float(score), epoch)
        if trainer.max_epochs / 3 <= epoch + 1 < trainer.max_epochs and self.trial.should_prune():
            text = f"val {self.metric.title} {self.metric.short(float(score))}"
            raise Pruned(f"after epoch {epoch + 1} {text} was worse than the other trials' median")

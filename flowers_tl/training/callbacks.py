"""Callbacks of every run: record, curves, logits, images, moving average, best checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn.functional import interpolate
from torch.nn.utils import get_total_norm
from torchvision.utils import make_grid

from flowers_tl.data.transforms import denormalise
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.metrics import EPOCH_METRICS
from flowers_tl.results.scores import read_monitor
from flowers_tl.runs.record import RunFolder
from flowers_tl.runs.resume import ResumePoint
from flowers_tl.training.freeze_check import FreezeCheck
from flowers_tl.training.tensorboard import LAYOUT, find_board
from flowers_tl.utils.errors import UserError


def find_callback(trainer: Trainer, kind: type[Callback]) -> Any:
    """The trainer's callback of a kind, or None."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)


def restore_records(trainer: Trainer, model: TransferClassifier, start: ResumePoint) -> None:
    """Bring TensorBoard, and where nothing is left to train the counts and the freeze check, to the checkpoint's epoch.

    A run may have been killed between its checkpoint and these.
    """
    # In another folder the curves begin with the next epoch.
    if start.folder == Path(trainer.default_root_dir):
        for values in filter(None, start.logged):
            for logger in trainer.loggers:
                logger.log_metrics(values | {"epoch": start.epoch - 1}, start.first_step)
    # With max_steps Lightning would end the checkpoint's epoch once more, and begin none.
    trainer.fit_loop._iteration_based_training = lambda: False
    if start.complete:
        trainer.fit_loop.load_state_dict(start.content["loops"]["fit_loop"])
    if start.complete and model.groups:
        trainer.fit_loop.epoch_progress.current.completed = start.epoch
        check, state = find_callback(trainer, FreezeCheck), start.content["callbacks"].get(FreezeCheck.state_key)
        if check and state:
            check.load_state_dict(state)
            check.summarise(model, start.epoch - 1)


class GroupCurves(Callback):
    """Log for each group by epoch its learning rate, mean gradient norm, and distance from where its weights began.

    The rate is the one at the epoch's beginning, 0 as long as the group is frozen. The norms are Euclidean, over
    all of the group's weights; the gradient's is taken before clipping.
    """

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, module: TransferClassifier, stage: str) -> None:
        # Before a checkpoint is loaded: these are the pretrained weights, in a resumed run too.
        if stage == "fit":
            groups, self.head = module.parameters_by_group(), module.backbone.stages[-1]
            self.start = {n: p.detach().clone() for g, ps in groups for n, p in zip(g.parameters, ps, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        # A resumed run does not solve the head again.
        return {"head": {name: start for name, start in self.start.items() if self.head.owns(name)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start |= state["head"]

    def on_train_start(self, trainer: Trainer, module: TransferClassifier) -> None:
        self.start = {name: start.to(module.device) for name, start in self.start.items()}

    def on_train_epoch_start(self, trainer: Trainer, module: TransferClassifier) -> None:
        rates = {group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups}
        begun = {group.name for group in module.groups if group.from_epoch <= trainer.current_epoch}
        self.rates = {name: rate if name in begun else 0.0 for name, rate in rates.items()}
        self.norms: dict[str, list[Tensor]] = {name: [] for name in rates if name in begun}

    def on_before_optimizer_step(self, trainer: Trainer, module: TransferClassifier, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            if gradients and group["name"] in self.norms:
                self.norms[group["name"]].append(get_total_norm(gradients))

    def on_train_epoch_end(self, trainer: Trainer, module: TransferClassifier) -> None:
        values = {f"lr/{name}": rate for name, rate in self.rates.items()}
        values |= {f"grad_norm/{name}": torch.stack(norms).mean() for name, norms in self.norms.items() if norms}
        with torch.no_grad():
            for group, parameters in module.parameters_by_group():
                moves = [p - self.start[name] for name, p in zip(group.parameters, parameters, strict=True)]
                values[f"distance/{group.name}"] = get_total_norm(moves)
        module.log_dict(values)


class Recorder(Callback):
    """Write all that is logged in an epoch as a row of ``history.csv``, and keep config and record in each checkpoint.

    So a checkpoint can be used wherever it lies. TensorBoard has the logged values from the module.
    """

    # The step at which the val scores were last measured.
    validated_at = -1

    def __init__(self, config: Mapping[str, Any], run: RunFolder) -> None:
        self.config, self.run = config, run

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.validated_at = trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.began_at = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        row: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        # Without a validation in this epoch Lightning still shows the val scores of an earlier one.
        stale = self.validated_at <= self.began_at
        for name, value in trainer.callback_metrics.items():
            if not (stale and name.startswith("val/")):
                score = name.startswith(("train/", "val/"))
                row[name] = round(float(value), 6) if score else float(f"{float(value):.6g}")
        self.run.append_history(row | {"seconds": round(self.run.clock.elapsed("fit"), 2)})

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = {"config": self.config, "record": self.run.result}
        # A head that was only solved has no curves.
        if not module.groups:
            return
        # What Lightning gives to TensorBoard after this: a run that is killed before goes on behind this epoch.
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        val = {name: value for name, value in logged.items() if name.startswith("val/")}
        rest = {name: value for name, value in logged.items() if name not in val}
        checkpoint["run"]["logged"] = [val if self.validated_at == trainer.global_step else {}, rest]


class PredictionCollector(Callback):
    """Keep the logits of the last validation and of the last test, and score what they show of the metric that is monitored."""

    def __init__(self, monitor: str = "val/accuracy") -> None:
        self.metric = read_monitor(monitor)
        self.logits: dict[str, list[Tensor]] = {"val": [], "test": []}

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.logits["test" if trainer.testing else "val"] = []

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Tensor, *_: Any) -> None:
        self.logits["test" if trainer.testing else "val"].append(outputs.detach())

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the metric, unless the module counts it batch by batch. Raises UserError where these images do not define it."""
        split = "test" if trainer.testing else "val"
        if self.metric.name in (*EPOCH_METRICS, "loss") or (logits := self.gathered(split)) is None:
            return
        data = getattr(trainer.datamodule, "data", trainer.datamodule)
        value = self.metric.function(logits, np.array(data.images[split].labels[: len(logits)]))
        # Logits that are not finite are for DivergenceCheck.
        if np.isnan(value) and np.isfinite(logits).all():
            raise UserError(
                f"monitor=val/{self.metric.name} can't be computed, since the {split} images are of one class: measure more of "
                "them, or choose another monitor."
            )
        # The same in all processes.
        module.log(f"{split}/{self.metric.name}", float(value), prog_bar=True, sync_dist=True)

    on_test_epoch_start, on_test_batch_end = on_validation_epoch_start, on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def gathered(self, split: str) -> np.ndarray | None:
        """Logits of all processes, float32 (n, classes), in the order of the split's first n images; None without any.

        Every process must call it. Process r of w has taken images r, r + w, r + 2w, ...
        """
        if not self.logits[split]:
            return None
        logits = torch.cat(self.logits[split]).float().cpu().numpy()
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return logits
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, logits)
        whole = np.empty((sum(map(len, parts)), logits.shape[1]), np.float32)
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole


class ImageGrid(Callback):
    """Show in TensorBoard one training batch as the network takes it, in natural colours, and where train and val stand
    together."""

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero and (board := find_board(trainer.loggers)):
            # Of a batch of features the data module has the images.
            images = batch[0] if len(batch) == 2 else module.backbone.normalise(trainer.datamodule.first_images())
            # In a grid a screen shows no more than 112 pixels of each, and a PNG takes its time.
            if images.shape[-1] > 112:
                images = interpolate(images, (112, 112), mode="area")
            images = denormalise(images, *module.backbone.norm)
            board.experiment.add_image("train/images", make_grid(images.cpu(), nrow=8), 0)
            board.experiment.add_custom_scalars(LAYOUT)


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, with which val and test are measured and which the checkpoint holds.

    What has not moved is its average already, bit for bit: Lightning's EMAWeightAveraging computes it anew, and rounds.
    Counters (``num_batches_tracked``) are taken over.
    """

    def __init__(self, decay: float) -> None:
        def average(mean: Tensor, new: Tensor, count: Tensor) -> Tensor:
            return torch.where(mean == new, new, mean.lerp(new, 1 - decay)) if new.is_floating_point() else new

        super().__init__(avg_fn=average)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_train_end(trainer, module)
        # The module is the average now; to swap it when the best is tested would be wrong.
        self._average_model = None

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
        # Else Lightning would only warn, and the average is what was loaded.
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, module, checkpoint)


class KeepBest(ModelCheckpoint):
    """Keep the weights with the best monitored score; a run that goes on in another folder takes its best so far along."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        there, here = Path(state_dict["best_model_path"]), Path(self.dirpath) / "best.ckpt"
        if state_dict["dirpath"] == self.dirpath or there.name != here.name or not there.is_file():
            # Moved with its folder, or gone, or another file of this machine.
            there = here if here.is_file() else None
        elif rank_zero_only.rank == 0:
            here.parent.mkdir(parents=True, exist_ok=True)
            # No new run begins in a folder with a best.ckpt: see FILES in runs/record.py.
            shutil.copyfile(there, here)
        if there is not None:
            score, paths = state_dict["best_model_score"], ("best_model_path", "kth_best_model_path")
            moved = {"dirpath": self.dirpath, "best_k_models": {str(here): score}} | dict.fromkeys(paths, str(here))
            super().load_state_dict(state_dict | moved)

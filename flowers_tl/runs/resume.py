"""Resume a run where it stopped: which checkpoint, and which settings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from flowers_tl.config.keys import KEYS_WITHOUT_EFFECT
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_prefix import find_entry_stage
from flowers_tl.models.strategy import Strategy
from flowers_tl.models.weights_file import validate_finite
from flowers_tl.runs.read_record import KINDS, read_mapping
from flowers_tl.runs.record import divergence_reason, read_config
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.notes import log

# What may differ from the resumed run: it changes no result, or only what comes after.
CHANGEABLE_KEYS = (*KEYS_WITHOUT_EFFECT, "trainer.max_epochs", "trainer.accelerator")


@dataclass(frozen=True)
class ResumePoint:
    """Where a run begins: anew, or behind the last epoch of a ``checkpoint`` with this ``content``.

    ``complete`` says that all epochs are done, so that only the test is left.
    """

    checkpoint: Path | None = None
    content: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    @property
    def epoch(self) -> int:
        """The epoch that comes next, counted from 0."""
        return self.content.get("epoch", -1) + 1

    @property
    def folder(self) -> Path | None:
        """The folder of the run that goes on."""
        return self.checkpoint and self.checkpoint.parent.parent

    @property
    def logged(self) -> list[dict[str, float]]:
        """What TensorBoard shows of the last epoch, by call; it may lack it."""
        return self.content.get("run", {}).get("logged", [])

    @property
    def first_step(self) -> int | None:
        """The step from which on TensorBoard is written anew, None from the beginning: that of :attr:`logged`."""
        return self.content.get("global_step", 0) - bool(self.logged) if self.checkpoint else None


def find_checkpoint(ckpt_path: str, folder: str | Path) -> Path:
    """Return the checkpoint that ``ckpt_path`` names: ``last`` is the newest in the run's ``folder``.

    Raises:
        UserError: if it is not there: a run that is to go on never begins anew without a word.
    """
    last = ckpt_path == "last"
    checkpoint = Path(folder) / "checkpoints" / "last.ckpt" if last else Path(ckpt_path)
    if checkpoint.is_file():
        return checkpoint
    if last:
        raise UserError(
            f"ckpt_path=last finds no checkpoint ({checkpoint} is not there): set hydra.run.dir to the run's folder, or "
            "leave ckpt_path out to start a new run."
        )
    raise UserError(f"ckpt_path={ckpt_path} is not a file: use a checkpoint, or ckpt_path=last hydra.run.dir=DIR.")


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Load a checkpoint; raise UserError if no run can go on from it."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        _ = content["epoch"], content["state_dict"], content["loops"], content["hyper_parameters"]["strategy"]
    # torch.load raises nearly anything on a file that is no checkpoint.
    except Exception as error:
        raise UserError(
            f"{checkpoint} is no checkpoint from which training can continue: use one that a run has written."
        ) from error
    validate_finite(content["state_dict"], checkpoint)
    return content


def restore_config(config: dict[str, Any], checkpoint: Path, named_keys: Sequence[str]) -> dict[str, Any]:
    """Return the settings with which to go on: those of the run, which the command line may only repeat.

    Args:
        config: what was composed from defaults and command line.
        checkpoint: whose run's ``config.yaml`` lies two folders up; without one, ``config`` is taken as it is.
        named_keys: keys and groups that the command line names (``strategy``, ``trainer.max_epochs``).

    Raises:
        UserError: if the command line names a setting that the run does not have, but for :data:`CHANGEABLE_KEYS`.
    """
    file = checkpoint.parent.parent / "config.yaml"
    if not file.is_file():
        return config
    try:
        saved = read_config(file.parent)
        if unlike := [
            key for key in config.keys() & saved.keys() if isinstance(config[key], dict) != isinstance(saved[key], dict)
        ]:
            raise ValueError(f"{unlike[0]} is not what it was")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as the run's settings: repair it, or start a new run.") from error
    wrong: list[str] = []
    # Which set it is, and not all of its keys' defaults.
    named_keys = [f"{key}.name" if key in ("data", "backbone") else key for key in named_keys]

    def merge(new: Any, old: Any, path: str) -> Any:
        """Take ``old``, but of CHANGEABLE_KEYS what the command line names; note other names whose values differ."""
        if isinstance(new, dict) and isinstance(old, dict):
            return {key: merge(new.get(key), old.get(key, new.get(key)), f"{path}{key}.") for key in {**old, **new}}
        if new == old or not any(path.startswith(f"{key}.") or f"{key}.".startswith(path) for key in named_keys):
            return old
        key = path.removesuffix(".")
        if key not in CHANGEABLE_KEYS:
            wrong.append(f"{key}={old}")
        return new

    settings = merge(config, saved, "") | {key: config[key] for key in ("ckpt_path", "print_strategy", "runs")}
    settings = with_this_machine(settings, config)
    if wrong:
        raise UserError(
            f"The run of {checkpoint} can only continue with its own settings ({shorten(wrong)}): leave out other values of "
            "these keys, or start a new run without ckpt_path."
        )
    name, epochs = settings["scheduler"]["name"], saved["trainer"]["max_epochs"]
    if settings["trainer"]["max_epochs"] != epochs and name != "constant":
        raise UserError(f"trainer.max_epochs={epochs} can't change with scheduler={name}: start a new run.")
    return settings


def with_this_machine(recorded: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded config with what is not for a record to say: where this machine keeps things, and how much."""
    cache = {key: config["cache"][key] for key in ("dir", "max_gb")}
    data = {"num_workers": config["data"]["num_workers"]}
    return recorded | {"cache": recorded["cache"] | cache, "data": recorded["data"] | data}


def read_finished(config: dict[str, Any], folder: str | Path, longer: bool) -> dict[str, Any] | None:
    """The result of the run in ``folder`` if nothing is left to do in it; None where the run goes on.

    A run that early stopping or trainer.max_steps ended is finished too, unless it is to be ``longer``. Raises
    UserError if the run diverged: with its settings, which it must keep, it would again.
    """
    file = Path(folder) / "result.json"
    if config["ckpt_path"] != "last" or not file.is_file():
        return None
    try:
        result = read_mapping(file, KINDS)
    except ValueError as error:
        raise UserError(f"{file} is damaged, so its run can't continue: repair it, or start a new run.") from error
    if diverged := divergence_reason(result):
        raise UserError(
            f"The run in {folder} diverged and can't be continued, since it would diverge again ({diverged.rstrip('.')}): start "
            "a new run with lower learning rates in another folder."
        )
    if result.get("status") != "finished" or (longer and 0 < result["epochs"] < config["trainer"]["max_epochs"]):
        return None
    log.info(f"The run in {folder} is finished already. A larger trainer.max_epochs trains it longer.")
    return result


def read_start(config: dict[str, Any], checkpoint: Path, folder: str | Path) -> ResumePoint:
    """Read a checkpoint. Raises UserError where it has more epochs than the run, or the run's test is not made here."""
    start = ResumePoint(checkpoint, read_checkpoint(checkpoint))
    epochs = config["trainer"]["max_epochs"] if config["strategy"]["table"] else 0
    complete, here = start.epoch >= epochs, checkpoint.parent.parent.resolve() == Path(folder).resolve()
    earlier = start.content.get("run", {}).get("config", config)
    if earlier["trainer"]["max_epochs"] == config["trainer"]["max_epochs"]:
        complete |= ended_early(start.content, config)
    if (epochs and start.epoch > epochs) or (complete and not here):
        raise UserError(
            f"{checkpoint} has {start.epoch} epochs already: set trainer.max_epochs above {start.epoch} to train longer."
        )
    return replace(start, complete=complete)


def ended_early(content: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether early stopping or trainer.max_steps let no epoch follow; Lightning forgets the first, and would train on."""
    most, patience = config["trainer"]["max_steps"], config["regularisation"]["early_stopping"]
    states = [state for key, state in content.get("callbacks", {}).items() if key.startswith("EarlyStopping")]
    return 0 < (most or 0) <= content.get("global_step", 0) or any(state["wait_count"] >= patience for state in states)


def validate_same_images(start: ResumePoint, data: ImageDataModule) -> None:
    """Raise UserError if classes or images are not those that the checkpoint's run began with."""
    names = start.content["hyper_parameters"].get("class_names", data.class_names)
    hashes = data.split_fingerprints()
    earlier = start.content.get("run", {}).get("record", {}).get("protocol", {}).get("splits", hashes)
    changed = [f"{split} images" for split in hashes if earlier.get(split) != hashes[split]]
    if list(names) != data.class_names:
        changed = ["classes"]
    if changed:
        raise UserError(
            f"The {' and '.join(changed)} have changed since {start.checkpoint} was written: restore them, or start a new run."
        )


def validate_same_model(start: ResumePoint, model: TransferClassifier) -> None:
    """Raise UserError if a checkpoint's network or strategy is not this run's, or was begun from other frozen weights."""
    for key in ("backbone", "num_classes", "strategy", "seed"):
        theirs, ours = start.content["hyper_parameters"].get(key), model.hparams[key]
        # Of an earlier version, which lacks keys.
        if key == "strategy" and theirs is not None:
            theirs, ours = (asdict(Strategy.from_dict(one)) for one in (theirs, ours))
        if theirs != ours:
            raise UserError(
                f"{start.checkpoint} was trained with another {key}: {theirs}, not {ours}; use the same, or start a new run."
            )
    entry, names = find_entry_stage(model, start.epoch), model.backbone.stage_names
    frozen = model.backbone.stages[: names.index(entry) if entry else 0]
    for name, tensor in model.backbone.network.state_dict().items():
        saved = start.content["state_dict"].get(f"backbone.network.{name}")
        if any(stage.owns(name) for stage in frozen) and (saved is None or not torch.equal(saved, tensor)):
            raise UserError(
                f"{start.checkpoint} started from other weights (the frozen {name} differs): restore the file of "
                "backbone.weights, or start a new run."
            )

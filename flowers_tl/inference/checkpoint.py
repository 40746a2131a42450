"""Load a trained network from its checkpoint: the weights, the config of its run, and its scores."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from flowers_tl.config.keys import add_later_keys
from flowers_tl.data.sampling import derive_seed
from flowers_tl.models.adapters import merged
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.preprocessing import validate as validate_preprocessing
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.models.weights_file import validate_finite
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs.read_record import KINDS, follow_link, plain, validate_unpacked
from flowers_tl.runs.record import read_config, read_result
from flowers_tl.runs.run_id import fingerprint_weights
from flowers_tl.training.factory import make_model
from flowers_tl.utils.errors import UserError, shorten, validate_not_empty
from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write

# More than any network here has, so that memory is bounded by what a checkpoint says.
MOST_CLASSES, MOST_SIDE = 100_000, 4096


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network.

    Attributes:
        path: of the checkpoint, or of the head.
        model: on the CPU, in eval mode.
        config: of its run; None where the checkpoint is of an earlier version and lies alone.
        record: the content of ``result.json``, now or when the checkpoint was written.
        temperature: by which logits are divided to be calibrated; 1.0 until ``evaluate calibrate=true`` fits one.
    """

    path: Path
    model: TransferClassifier
    config: dict[str, Any] | None
    record: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    @property
    def class_names(self) -> list[str]:
        """One per class; numbers if the checkpoint has no names."""
        parameters = self.model.hparams
        return list(parameters.class_names) or [f"class {k}" for k in range(parameters.num_classes)]

    @property
    def run_folder(self) -> Path:
        """That of the run which wrote the file, while it lies where the run put it."""
        return self.path.parent if self.path.name == "head.pt" else self.path.parent.parent

    @property
    def value_range(self) -> tuple[float, ...] | None:
        """Of its training images, see :func:`flowers_tl.data.image_io.to_rgb`."""
        return tuple(self.record.get("data", {}).get("value_range") or ()) or None

    @property
    def measured(self) -> dict[str, Any]:
        """Scores by split of these very weights, as far as the run measured them."""
        scores = self.record.get("best") or {} if self.path.name == "best.ckpt" else self.record
        return {
            split: scores[split] for split in ("val", "test") if (scores.get(split) or {}).get("accuracy") is not None
        }


def load_trained(path: str | Path) -> TrainedModel:
    """Load a checkpoint, or the last one of a run's folder; one of many heads is loaded from its folder.

    Raises:
        UserError: if there is none, or it can't be read.
    """
    validate_not_empty(path, "ckpt")
    file = find_trained_checkpoint(Path(path))
    try:
        return read_head(file) if file.name == "head.pt" else read_checkpoint(file)
    except UserError:
        raise
    # torch.load raises nearly anything on another file.
    except Exception as error:
        raise UserError(
            f"{file} is no checkpoint of this project: use a run's folder or checkpoint, or, for a file of weights, "
            "backbone=NAME backbone.weights=FILE."
        ) from error


def read_checkpoint(file: Path) -> TrainedModel:
    """Load a checkpoint that Lightning has written for a run."""
    validate_unpacked(file)
    content = torch.load(file, map_location="cpu", weights_only=True)
    provenance, arguments, folder = content.get("run", {}), dict(content["hyper_parameters"]), file.parent.parent
    config = add_later_keys(plain(provenance["config"], {})) if "config" in provenance else None
    # Checkpoints of earlier versions lack config and image size.
    if config is None and (folder / "config.yaml").is_file():
        config = read_config(folder)
    if config:
        arguments["image_size"] = config["data"]["image_size"]
    names, temperature = arguments.get("class_names") or [], content.get("temperature", 1.0)
    if not 1 <= arguments["num_classes"] <= MOST_CLASSES or len(names) not in (0, arguments["num_classes"]):
        raise ValueError("its classes do not fit")
    if not 1 <= arguments.get("image_size", 1) <= MOST_SIDE or not 0 < temperature < math.inf:
        raise ValueError("its image size or temperature is out of range")
    if how := arguments.get("preprocessing"):
        validate_preprocessing({key: value for key, value in how.items() if key != "fit"})
    validate_finite(content["state_dict"], file)
    model = TransferClassifier(**arguments)
    model.load_state_dict(content["state_dict"])
    model.backbone.network = merged(model.backbone.network)
    record = read_result(folder)
    begun = plain(provenance.get("record") or {}, KINDS)
    # Another record: the file has left its run's folder.
    if record.get("id") != begun.get("id", record.get("id")):
        record = begun
    return TrainedModel(file, model.eval(), config, record or begun, temperature)


def read_head(file: Path) -> TrainedModel:
    """Load one of many heads, on the network that it was trained on."""
    config, predictions = read_config(file.parent), Predictions.read(file.parent)
    class_names = predictions.class_names if predictions else None
    state = torch.load(file, map_location="cpu", weights_only=True)
    validate_finite(state, file)
    # If the backbone had random weights, it gets the same again.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config["seed"]))
        model = make_model(config, len(next(iter(state.values()))), class_names)
    weights = initial_weights(config)
    load_weights(model.backbone, weights)
    record = read_result(file.parent)
    now = fingerprint_weights(config["backbone"]["name"], weights)
    if record.get("weights_fingerprint", now) != now:
        raise UserError(f"The weights {weights} have changed since {file} was trained: restore the old weights.")
    model.backbone.network.load_state_dict(state, strict=False)
    return TrainedModel(file, model.eval(), config, record)


def keep_temperature(trained: TrainedModel, temperature: float) -> None:
    """Write the temperature into the checkpoint, and change nothing else in it.

    Raises:
        UserError: if it is one of many heads, whose file holds weights alone, or if its run is going on.
    """
    if trained.path.name == "head.pt":
        raise UserError(f"{trained.path} can't hold a temperature: train this head as a separate run to calibrate it.")
    folder = trained.run_folder
    in_run = (folder / "config.yaml").is_file()
    with lock_or_fail(FileLock(folder / ".lock"), f"the run in {folder}") if in_run else nullcontext():
        content = torch.load(trained.path, map_location="cpu", weights_only=True)
        with atomic_write(trained.path) as beside:
            torch.save(content | {"temperature": temperature}, beside)


def find_trained_checkpoint(path: Path) -> Path:
    """The file itself, or the last checkpoint of the run in the folder."""
    if path.is_dir():
        # A sweep's job may link to a run that was finished before.
        path = follow_link(path)
        for file in (path / "checkpoints" / "last.ckpt", path / "head.pt"):
            if file.is_file():
                return file
        below = sorted(str(file.parent.parent) for file in path.glob("*/checkpoints/last.ckpt"))
        below += sorted(str(file.parent) for file in path.glob("*/head.pt"))
        known = f"one of its runs: {shorten(below)}" if below else "a run's folder, or a checkpoint"
        raise UserError(f"ckpt={path} is a folder without checkpoints/last.ckpt: use {known}.")
    if not path.is_file():
        raise UserError(f"ckpt={path} is not there: use a checkpoint (RUN/checkpoints/last.ckpt) or a run's folder.")
    return path

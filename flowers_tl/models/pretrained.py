"""From which weights a backbone begins: a torchvision name, a file, or none."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError, first_line, shorten, suggest
from flowers_tl.utils.notes import log_note


def initial_weights(config: Mapping[str, Any]) -> str | None:
    """The weights that a run begins from: None, random ones, where the strategy says so whatever the backbone says."""
    return None if config["strategy"]["weights"] == "random" else config["backbone"]["weights"]


def load_weights(backbone: StagedNetwork, weights: str | None) -> None:
    """Load pretrained weights into ``backbone``, all but its new head; None leaves the random weights.

    Args:
        backbone: the network to fill.
        weights: a torchvision weights name (``IMAGENET1K_V1``, ``DEFAULT``), or the path of a state dict or of a
            checkpoint of this project. A bare file name is also looked for in the folder FLOWERS_TL_WEIGHTS.

    Raises:
        UserError: if the weights can't be found, downloaded or read, or if they do not fit the network: the
            classifier alone may differ.
    """
    if weights is None:
        return
    state = read_weights(backbone.name, weights)
    current = backbone.network.state_dict()
    head = {backbone.final + ".weight", backbone.final + ".bias"}
    wrong_shape = {key for key in current.keys() & state.keys() if current[key].shape != state[key].shape}
    # num_batches_tracked only counts: files older than PyTorch 0.4.1 have none, and no result depends on it.
    lacking = {key for key in current.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    classifier = {key for key in current | state if key.split(".")[0] in ("fc", "classifier", "heads")}
    problems = {
        "lacks": lacking - classifier,
        "has the unknown": state.keys() - current.keys() - classifier,
        "has another shape in": wrong_shape - classifier,
    }
    if wrong := [f"{what} {shorten(sorted(keys))}" for what, keys in problems.items() if keys]:
        raise UserError(f"backbone.weights={weights} does not fit {backbone.name}: it {', and it '.join(wrong)}.")
    parameters = dict(backbone.network.named_parameters())
    neck = sorted((lacking | wrong_shape) - head)
    # What the strategy trains requires gradients by now.
    if frozen := [key for key in neck if key in parameters and not parameters[key].requires_grad]:
        raise UserError(
            f"backbone.weights={weights} has no fitting {shorten(frozen)}, which the strategy freezes, so it would stay random: "
            "train the neck too, or name whole weights."
        )
    if neck:
        log_note(f"{weights} has no fitting {shorten(neck)}: that part of the neck begins from random weights.")
    fitting = {key: state[key] for key in (current.keys() & state.keys()) - head - wrong_shape}
    backbone.network.load_state_dict(fitting, strict=False)


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return the state dict that ``weights`` names, for the architecture ``name``."""
    known = get_model_weights(name).__members__
    entry = known.get(weights)
    file = find_file(entry.url.rsplit("/", 1)[-1] if entry else weights)
    if file is not None:
        return read_file(file)
    if entry is None:
        folder = os.environ.get("FLOWERS_TL_WEIGHTS")
        raise UserError(
            f"backbone.weights={weights} is neither a file here{f' or in {folder}' if folder else ''}, nor null for random "
            f"weights, nor a weights name of {name}: {suggest(weights, known)}."
        )
    try:
        return entry.get_state_dict(progress=True, check_hash=True)
    # RuntimeError: what was downloaded has another hash.
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{weights} of {name} can't be downloaded ({error}): put {entry.url} into {torch.hub.get_dir()}/checkpoints or "
            "into the folder that FLOWERS_TL_WEIGHTS names, or name a file with backbone.weights=PATH."
        ) from error


def find_file(name: str) -> Path | None:
    """Return the path of ``name`` as it is or in the folder FLOWERS_TL_WEIGHTS, or None where neither is a file."""
    candidates = [Path(name), Path(os.environ.get("FLOWERS_TL_WEIGHTS") or "", name)]
    return next((path for path in candidates if path.is_file()), None)


def read_file(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the network out of a checkpoint of this project; nothing but tensors is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, Mapping) else {}
        if not state or not all(isinstance(name, str) and is_plain(value) for name, value in state.items()):
            raise ValueError("it holds no plain tensors by name")
    # torch.load raises nearly anything on a file that is no state dict.
    except Exception as error:
        reason = first_line(error).split(". ")[0]
        # PyTorch would advise to unpickle anything.
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds something else than tensors"
        raise UserError(
            f"{path} can't be read as weights ({reason}): it must be a state dict saved by torch.save."
        ) from error
    validate_finite(state, path)
    prefix = "backbone.network."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)} or state


def is_plain(value: Any) -> bool:
    """Whether this is a tensor whose numbers lie in memory: not a sparse one, a nested one, or one without numbers."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested and not value.is_meta


def validate_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError if a file's weights or statistics hold NaN or infinite numbers, or are no weights."""
    wrong = [
        name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.float().isfinite().all()
    ]
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1]
    if any(not tensor.is_floating_point() for tensor in matrices) or (matrices and not any(map(torch.any, matrices))):
        raise UserError(f"{path} holds no weights, but zeros alone or whole numbers: name a file of float weights.")
    if wrong:
        raise UserError(
            f"{path} holds NaN or infinite numbers in {shorten(wrong)}: its training diverged, or the file is damaged; name "
            "another file."
        )

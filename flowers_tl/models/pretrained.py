"""From which weights a backbone begins: a torchvision name, a file, or none."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from flowers_tl.models.backbone import Backbone
from flowers_tl.utils.errors import UserError, shorten, suggest
from flowers_tl.utils.notes import log_note


def initial_weights(config: Mapping[str, Any]) -> str | None:
    """The weights that a run begins from: None, random ones, where the strategy says so whatever the backbone says."""
    return None if config["strategy"]["weights"] == "random" else config["backbone"]["weights"]


def load_weights(backbone: Backbone, weights: str | None) -> None:
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
    own = backbone.network.state_dict()
    head = (backbone.final + ".weight", backbone.final + ".bias")
    wrong_shape = {key for key in own.keys() & state.keys() if own[key].shape != state[key].shape}
    # num_batches_tracked only counts: files older than PyTorch 0.4.1 have none, and no result depends on it.
    lacking = {key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    classifier = {key for key in own | state if key.split(".")[0] in ("fc", "classifier", "heads")}
    problems = [
        f"{what} {shorten(sorted(keys - classifier))}"
        for what, keys in (
            ("lacks", lacking),
            ("has the unknown", state.keys() - own.keys()),
            ("has another shape in", wrong_shape),
        )
        if keys - classifier
    ]
    if problems:
        raise UserError(f"backbone.weights={weights} does not fit {backbone.name}: it {', and it '.join(problems)}.")
    if neck := sorted((lacking | wrong_shape) - set(head)):
        log_note(f"{weights} has no fitting {shorten(neck)}: that part of the neck begins from random weights.")
    fitting = {key: value for key, value in state.items() if key in own and key not in head and key not in wrong_shape}
    backbone.network.load_state_dict(fitting, strict=False)


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return the state dict that ``weights`` names, for the architecture ``name``."""
    known = get_model_weights(name).__members__
    folder = os.environ.get("FLOWERS_TL_WEIGHTS")
    if weights in known:
        url = known[weights].url
        local = find_file(url.rsplit("/", 1)[-1], folder)
        if local is not None:
            return read_file(local)
        try:
            return known[weights].get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: what was downloaded has another hash
            raise UserError(
                f"{weights} of {name} can't be downloaded ({error}): put {url} into {torch.hub.get_dir()}/checkpoints or "
                "into the folder that FLOWERS_TL_WEIGHTS names, or name a file with backbone.weights=PATH."
            ) from error
    local = find_file(weights, folder)
    if local is None:
        where = f" or in {folder}" if folder else ""
        raise UserError(
            f"backbone.weights={weights} is neither a file here{where}, nor null for random weights, nor a weights name of "
            f"{name}: {suggest(weights, known)}."
        )
    return read_file(local)


def find_file(name: str, folder: str | None) -> Path | None:
    """Return the path of ``name`` as it is or inside ``folder``, or None where neither is a file."""
    candidates = [Path(name), *([Path(folder) / name] if folder else [])]
    return next((path for path in candidates if path.is_file()), None)


def read_file(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the network out of a checkpoint of this project; nothing but tensors is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            raise ValueError("it holds no tensors by name")
    except Exception as error:  # torch.load raises nearly anything on a file that is not its own
        unsafe = isinstance(error, pickle.UnpicklingError)  # PyTorch would advise to unpickle anything; we do not
        reason = (
            "it holds something else than tensors" if unsafe else (str(error) or type(error).__name__).splitlines()[0]
        )
        raise UserError(
            f"{path} can't be read as weights ({reason}): it must be a state dict saved by torch.save."
        ) from error
    refuse_not_finite(state, path)
    prefix = "backbone.network."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)} or state


def refuse_not_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError if a file's weights or statistics hold NaN or infinite numbers."""
    wrong = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if wrong:
        raise UserError(
            f"{path} holds NaN or infinite numbers in {shorten(wrong)}: its training diverged, or the file is damaged; name "
            "another file."
        )

"""From which weights a backbone begins: a torchvision name, a file, or none."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from flowers_tl.models.adapters import merge_state
from flowers_tl.models.backbone import LORA, StagedNetwork
from flowers_tl.models.tensor_names import fit_names
from flowers_tl.models.timm_networks import convert, download, find_weights_file, is_timm
from flowers_tl.models.weights_file import find_file, read_file
from flowers_tl.utils.errors import UserError, first_line, shorten, suggest
from flowers_tl.utils.notes import log_note


def initial_weights(config: Mapping[str, Any]) -> str | None:
    """The weights that a run begins from: None, random ones, where the strategy says so whatever the backbone says."""
    return None if config["strategy"]["weights"] == "random" else config["backbone"]["weights"]


def load_weights(backbone: StagedNetwork, weights: str | None) -> None:
    """Load pretrained weights into ``backbone``, all but its new head; None leaves the random weights.

    Args:
        backbone: the network to fill.
        weights: a torchvision weights name (``IMAGENET1K_V1``, ``DEFAULT``), or the path of a file, see :func:`read_weights`.
            A bare file name is also looked for in the folder FLOWERS_TL_WEIGHTS.

    Raises:
        UserError: if the weights can't be found, downloaded or read, or if they do not fit the network: the
            classifier alone may differ.
    """
    if weights is None:
        return
    state = read_weights(backbone, weights)
    # Adapters are the run's own.
    current = {key: tensor for key, tensor in backbone.network.state_dict().items() if LORA not in key}
    fit_positions(state, backbone, weights)
    # The strategy's head may have other tensors than the library's.
    head = {key for key in current | state if key.startswith(f"{backbone.final}.")}
    wrong_shape = {key for key in current.keys() & state.keys() if current[key].shape != state[key].shape}
    # num_batches_tracked only counts: files older than PyTorch 0.4.1 have none, and no result depends on it.
    lacking = {key for key in current.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    classifier = {
        key for key in current | state if key.split(".")[0] in ("fc", "classifier", "head", "head_dist", "heads")
    }
    problems = {
        "lacks": lacking - classifier - head,
        "has the unknown": state.keys() - current.keys() - classifier - head,
        "has another shape in": wrong_shape - classifier,
    }
    if wrong := [f"{what} {shorten(sorted(keys))}" for what, keys in problems.items() if keys]:
        raise UserError(f"backbone.weights={weights} does not fit {backbone.name} ({', '.join(wrong)}): use others.")
    parameters = dict(backbone.network.named_parameters())
    neck = sorted((lacking | wrong_shape) - head)
    # What the strategy trains requires gradients by now.
    if frozen := [key for key in neck if key in parameters and not parameters[key].requires_grad]:
        raise UserError(
            f"backbone.weights={weights} has no {shorten(frozen)}, which the strategy freezes, so it would stay random: "
            "train the neck too, or use complete weights."
        )
    if other := sorted(state.keys() - current.keys() - head):
        log_note(f"{weights} has {shorten(other)}, which {backbone.name} has not: it is left out.")
    if neck:
        log_note(f"{weights} has no {shorten(neck)}: this part of the neck starts from random weights.")
    fitting = {key: state[key] for key in (current.keys() & state.keys()) - head - wrong_shape}
    backbone.network.load_state_dict(fitting, strict=False)


def fit_positions(state: dict[str, Tensor], backbone: StagedNetwork, weights: str) -> None:
    """Interpolate a ViT's position embeddings of another image size; ``backbone.positions`` says so."""
    network, key = backbone.network, "encoder.pos_embedding"
    if key not in state or state[key].shape == network.state_dict()[key].shape:
        return
    try:
        fitted = interpolate_embeddings(network.image_size, network.patch_size, {key: state[key].float()})[key]
    # They are of no ViT with square images.
    except (ValueError, RuntimeError):
        return
    old, new = (int((tensor.shape[1] - 1) ** 0.5) for tensor in (state[key], fitted))
    how = f"interpolated from {old} x {old} to {new} x {new} patches"
    backbone.positions, state[key] = {"positions": how}, fitted
    log_note(f"The position embeddings of {weights} are {how}, for images of {network.image_size} pixels.")


def fit_timm(state: dict[str, Tensor], backbone: StagedNetwork, weights: str) -> dict[str, Tensor]:
    """The state dict as timm itself reads it; ``backbone.positions`` says whether position embeddings were interpolated."""
    try:
        fitted = convert(backbone.name, backbone.network, state)
    # It raises nearly anything on tensors of another network.
    except Exception as error:
        raise UserError(
            f"backbone.weights={weights} does not fit {backbone.name} ({first_line(error)}): use others."
        ) from error
    changed = [key for key in state.keys() & fitted.keys() if "pos" in key and state[key].shape != fitted[key].shape]
    if changed:
        old, new = ("x".join(map(str, tensor[changed[0]].shape)) for tensor in (state, fitted))
        backbone.positions = {"positions": f"{shorten(sorted(changed))} interpolated from {old} to {new}"}
        log_note(
            f"The position embeddings of {weights} are made to fit the image size: {backbone.positions['positions']}."
        )
    return fitted


def read_weights(backbone: StagedNetwork, weights: str) -> dict[str, Tensor]:
    """Return the tensors that ``weights`` names, under the names of the backbone's network.

    A file may be a state dict, a checkpoint of this project, or what others' training leaves: prefixes of names and timm's
    names are changed into ours, and a note says so.
    """
    of_timm = is_timm(backbone.name)
    known = {} if of_timm else get_model_weights(backbone.name).__members__
    entry = known.get(weights)
    if of_timm:
        file = find_weights_file(backbone.name, weights)
    else:
        file = find_file(entry.url.rsplit("/", 1)[-1] if entry else weights)
    if file is not None:
        state, key = read_file(file)
        fitted, changes = fit_names(merge_state(state), backbone.name, backbone.network.state_dict())
        # The checkpoints of this project and of Lightning have this key.
        if changes := [*([f"its {key}"] if key not in (None, "state_dict") else []), *changes]:
            log_note(f"{weights} is read as weights of {backbone.name}: {', '.join(changes)}.")
        return fit_timm(fitted, backbone, weights) if of_timm else fitted
    if of_timm:
        return fit_timm(download(backbone.name, weights), backbone, weights)
    if entry is None:
        folder = os.environ.get("FLOWERS_TL_WEIGHTS")
        raise UserError(
            f"backbone.weights={weights} is no file{f', here or in {folder},' if folder else ''} and no name of torchvision's "
            f"weights for {backbone.name}: {suggest(weights, known)}; null: random weights."
        )
    try:
        return entry.get_state_dict(progress=True, check_hash=True)
    # RuntimeError: what was downloaded has another hash.
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{weights} of {backbone.name} can't be downloaded ({error}): put {entry.url} into {torch.hub.get_dir()}/checkpoints or "
            "into the folder that FLOWERS_TL_WEIGHTS names, or use a file with backbone.weights=PATH."
        ) from error

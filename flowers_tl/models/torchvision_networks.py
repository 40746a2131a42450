"""torchvision's networks by name: built, cut, their weights, and how these take images."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_builder, get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from flowers_tl.config.backbones import NETWORKS
from flowers_tl.config.keys import ARTICLE
from flowers_tl.models.cut import CLASSES, Cut, find_cut, find_named_ends, has_matrix, on_meta, shape
from flowers_tl.models.partial_run import Call
from flowers_tl.models.tensor_names import rename_old
from flowers_tl.models.weights_file import find_file
from flowers_tl.utils.errors import UserError, suggest
from flowers_tl.utils.notes import log_note

# Of networks whose parameters do not depend on their images' size: they are cut for this one.
SIDE = 224
# As their weights need them: without the second classifiers, and with ImageNet's mean and deviation replaced by their own.
SECOND = ("aux1.", "aux2.", "AuxLogits.")
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}


def find_arguments(backbone: str, image_size: int) -> dict[str, Any]:
    """The arguments of torchvision's function beside the number of classes."""
    family = backbone.partition("_")[0]
    sizes: dict[str, dict[str, Any]] = {
        "vit": {"image_size": image_size},
        "maxvit": {"input_size": [image_size, image_size]},
    }
    return sizes.get(family, INCEPTION if family in ("googlenet", "inception") else {})


def make(backbone: str, num_classes: int, image_size: int) -> tuple[nn.Module, dict[str, Any]]:
    """A network with random weights and a new final layer, and its arguments.

    Raises:
        UserError: if there is none of this name, or it takes no such images.
    """
    if backbone not in NETWORKS:
        raise UserError(f"There is no backbone '{backbone}': {suggest(backbone, NETWORKS)}.")
    arguments = find_arguments(backbone, image_size)
    try:
        network = get_model(backbone, weights=None, **arguments)
    # A RegNet computes its widths with tensors.
    except NotImplementedError:
        with torch.device("cpu"):
            network = get_model(backbone, weights=None, **arguments)
        network.to(torch.get_default_device())
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"data.image_size={image_size} does not fit {backbone} (it is no multiple of its patches): use 224, or another backbone."
        ) from error
    replace_final_layer(network, num_classes)
    return network, arguments


def build(backbone: str, num_classes: int, image_size: int) -> tuple[nn.Module, dict[str, Any], Cut]:
    """See :class:`flowers_tl.models.libraries.Library`. Raises UserError as :func:`make` does."""
    network, arguments = make(backbone, num_classes, image_size)
    return network, arguments, cut_network(backbone, SIDE if arguments in ({}, INCEPTION) else image_size)


@functools.lru_cache
def cut_network(backbone: str, image_size: int) -> Cut:
    with on_meta():
        network, _ = make(backbone, CLASSES, image_size)
        cut = find_cut(network, image_size, functools.partial(find_ends, side=image_size))
    # The authors' words for their stages.
    word = "layer" if hasattr(network, "layer1") or hasattr(network, "encoder") else "stage"
    return Cut(cut.points, cut.members, cut.final, word=word)


def replace_final_layer(network: nn.Module, num_classes: int) -> None:
    """Put a fresh Linear or Conv with ``num_classes`` outputs in the place of the last one."""
    name, old = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=old.kernel_size)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)


def find_side(call: Call) -> int:
    """The side of the places in what a module gives, whichever axis has the channels; 0 if there are none."""
    sizes = shape(call)[1:]
    return sizes[1] if len(sizes) == 3 and sizes[1] in (sizes[0], sizes[2]) else 0


def find_steps(network: nn.Module, calls: Sequence[Call]) -> list[Call]:
    """The outermost of these calls in turn, but of a Sequential that works at more than two resolutions its parts."""
    steps: list[Call] = []
    for call in sorted(calls, key=lambda one: one.begin):
        if steps and call.begin < steps[-1].end:
            continue
        inner = [one for one in calls if call.begin < one.begin < call.end]
        sides = {find_side(part) for part in inner if part.name.rpartition(".")[0] == call.name}
        divided = len(sides) > 2 and isinstance(network.get_submodule(call.name), nn.Sequential)
        steps += find_steps(network, inner) if divided else [call]
    return steps


def find_ends(network: nn.Module, calls: Sequence[Call], side: int) -> list[tuple[Call, bool]]:
    """Where stem and feature stages end: a feature stage works at one resolution, and the stem at half the images' or more.

    Where nothing has the half, the stem is the first step. A pooling before a single module belongs to the stem too. In a
    ViT, which has one resolution, each block is a stage.
    """
    groups: list[list[Call]] = []
    for step in find_steps(network, calls):
        places = find_side(step)
        # What is pooled has none.
        if places < 2:
            break
        if groups and (places > 0.75 * find_side(groups[-1][0]) or 3 * places > side):
            groups[-1].append(step)
        else:
            groups.append([step])
    if len(groups) < 4:
        return find_named_ends(network, calls)
    weighted = [[step for step in group if has_matrix(network, step)] for group in groups]
    if 3 * find_side(groups[0][0]) < side and len(weighted[0]) > 1:
        groups[:1] = [groups[0][:1], groups[0][1:]]
    # Behind the stem one module, with a pooling before it.
    elif len(weighted[1]) < 2 and (pools := groups[1][: groups[1].index(weighted[1][0]) if weighted[1] else None]):
        groups[0] += pools
    return [(group[-1], False) for group in groups if any(has_matrix(network, step) for step in group)]


def find_values(backbone: str, weights: str | None, key: str | None = None) -> dict[str, Any]:
    """See :class:`flowers_tl.models.libraries.Library`."""
    if backbone not in NETWORKS:
        return ARTICLE
    known = get_model_weights(backbone).__members__
    if key and weights not in known:
        raise UserError(f"{key}={weights} is no weights name of {backbone}: {suggest(str(weights), known)}.")
    how = known.get(weights, next(iter(known.values()))).transforms()
    return {
        "resize": how.resize_size[0],
        "crop": how.crop_size[0],
        "interpolation": how.interpolation.value,
        "mean": list(how.mean),
        "std": list(how.std),
    }


def find_function(backbone: str) -> Callable[..., nn.Module]:
    return get_model_builder(backbone)


def identify_weights(backbone: str, weights: str) -> str | None:
    """torchvision's name of the file, which has a hash in it."""
    entry = get_model_weights(backbone).__members__.get(weights)
    return entry.url.rsplit("/", 1)[-1] if entry else None


def find_weights_file(backbone: str, weights: str) -> Path | None:
    return find_file(identify_weights(backbone, weights) or weights)


def download(backbone: str, weights: str) -> dict[str, Tensor]:
    """See :class:`flowers_tl.models.libraries.Library`. Raises UserError if the weights are unknown, or can't be had."""
    known = get_model_weights(backbone).__members__
    entry = known.get(weights)
    if entry is None:
        folder = os.environ.get("FLOWERS_TL_WEIGHTS")
        raise UserError(
            f"backbone.weights={weights} is no file{f', here or in {folder},' if folder else ''} and no name of torchvision's "
            f"weights for {backbone}: {suggest(weights, known)}; null: random weights."
        )
    try:
        return entry.get_state_dict(progress=True, check_hash=True)
    # RuntimeError: what was downloaded has another hash.
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{weights} of {backbone} can't be downloaded ({error}): put {entry.url} into {torch.hub.get_dir()}/checkpoints or "
            "into the folder that FLOWERS_TL_WEIGHTS names, or use a file with backbone.weights=PATH."
        ) from error


def fit(
    state: dict[str, Tensor], backbone: str, network: nn.Module, weights: str
) -> tuple[dict[str, Tensor], str | None]:
    """The state dict under present names, and how a ViT's position embeddings were interpolated, if they were."""
    state = {rename_old(name): tensor for name, tensor in state.items() if not name.startswith(SECOND)}
    key = "encoder.pos_embedding"
    if key not in state or state[key].shape == network.state_dict()[key].shape:
        return state, None
    try:
        fitted = interpolate_embeddings(network.image_size, network.patch_size, {key: state[key].float()})[key]
    # They are of no ViT with square images.
    except (ValueError, RuntimeError):
        return state, None
    old, new = (int((tensor.shape[1] - 1) ** 0.5) for tensor in (state[key], fitted))
    how = f"interpolated from {old} x {old} to {new} x {new} patches"
    log_note(f"The position embeddings of {weights} are {how}, for images of {network.image_size} pixels.")
    return state | {key: fitted}, how

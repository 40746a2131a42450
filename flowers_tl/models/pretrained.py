"""From which weights a backbone begins: a torchvision name, a file, or none."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowers_tl.models.adapters import merge_state
from flowers_tl.models.backbone import LORA, StagedNetwork
from flowers_tl.models.libraries import find_library
from flowers_tl.models.tensor_names import fit_names
from flowers_tl.models.weights_file import read_file
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.notes import log_note

# What the libraries call classifiers.
CLASSIFIERS = ("fc", "classifier", "head", "head_dist", "heads")


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
    # The strategy's head may have other tensors than the library's.
    head = {key for key in current | state if key.startswith(f"{backbone.final}.")}
    wrong_shape = {key for key in current.keys() & state.keys() if current[key].shape != state[key].shape}
    # num_batches_tracked only counts: files older than PyTorch 0.4.1 have none, and no result depends on it.
    lacking = {key for key in current.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    classifier = {key for key in current | state if key.split(".")[0] in CLASSIFIERS}
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


def read_weights(backbone: StagedNetwork, weights: str) -> dict[str, Tensor]:
    """Return the tensors that ``weights`` names, under the names of the backbone's network.

    A file may be a state dict, a checkpoint of this project, or what others' training leaves: prefixes of names and timm's
    names are changed into ours, and a note says so.
    """
    library = find_library(backbone.name)
    if file := library.find_weights_file(backbone.name, weights):
        content, key = read_file(file)
        state, changes = fit_names(merge_state(content), backbone.name, backbone.network.state_dict())
        # The checkpoints of this project and of Lightning have this key.
        if changes := [*([f"its {key}"] if key not in (None, "state_dict") else []), *changes]:
            log_note(f"{weights} is read as weights of {backbone.name}: {', '.join(changes)}.")
    else:
        state = library.download(backbone.name, weights)
    state, how = library.fit(state, backbone.name, backbone.network, weights)
    backbone.positions = {"positions": how} if how else {}
    return state

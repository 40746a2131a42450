"""timm's networks by name, ``timm/NAME`` or ``timm/NAME.TAG``: built, cut, their weights, and how these take images."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from flowers_tl.config.keys import ARTICLE
from flowers_tl.models.cut import CLASSES, Cut, find_cut, on_meta
from flowers_tl.models.weights_file import find_file
from flowers_tl.utils.errors import UserError, first_line, needs_extra, shorten, suggest
from flowers_tl.utils.notes import log_note

PREFIX = "timm/"
REMEDY = "use the size of its weights, or another backbone"
# How timm builds a network with its first classifier alone, where it would have a second one for distillation.
ONE_CLASSIFIER = ({"distilled": False}, {"distillation": False})


def library(backbone: str) -> ModuleType:
    """timm itself. Raises UserError if it is not installed."""
    with needs_extra("timm", f"backbone={backbone} needs timm", "timm"):
        return import_module("timm")


def architecture(backbone: str) -> str:
    """timm's name of the network, without the tag of its weights."""
    return backbone.removeprefix(PREFIX).partition(".")[0]


def find_tags(backbone: str) -> dict[str, Any]:
    """timm's ``pretrained_cfg`` of each weights tag of a network, the default one first.

    Raises:
        UserError: if there is no such network, or its name has a tag that it lacks.
    """
    models, name, tag = library(backbone).models, architecture(backbone), backbone.partition(".")[2]
    if not models.is_model(name):
        raise UserError(f"There is no backbone '{backbone}': {suggest(name, models.list_models(), most=3)}.")
    tags = {key.partition(".")[2]: cfg for key, cfg in models.get_arch_pretrained_cfgs(name).items()}
    if tag and tag not in tags:
        raise UserError(f"There is no backbone '{backbone}', since timm/{name} has no such tag: {suggest(tag, tags)}.")
    default = getattr(models.get_pretrained_cfg(name), "tag", None)
    return {key: tags[key] for key in sorted(tags, key=lambda key: key != default)}


def find_tag(backbone: str, weights: str | None) -> str | None:
    """The tag that ``backbone.weights`` names, or None. DEFAULT is that in the network's name, or timm's default."""
    tags = find_tags(backbone)
    if weights == "DEFAULT":
        return backbone.partition(".")[2] or next(iter(tags), None)
    return weights if weights in tags else None


def find_values(backbone: str, weights: str | None, key: str | None = None) -> dict[str, Any]:
    """How the weights of a tag expect images, see :func:`flowers_tl.models.preprocessing.find_preprocessing`."""
    tags, tag = find_tags(backbone), find_tag(backbone, weights)
    if key and tag is None:
        raise UserError(f"{key}={weights} is no weights tag of {backbone}: {suggest(str(weights), tags)}.")
    cfg = tags.get((find_tag(backbone, "DEFAULT") if tag is None else tag) or "")
    if cfg is None:
        return ARTICLE
    side = cfg.input_size[-1]
    return {
        "resize": math.floor(side / min(1, cfg.crop_pct)),
        "crop": side,
        "interpolation": cfg.interpolation if cfg.interpolation in ("nearest", "bilinear") else "bicubic",
        "mean": list(cfg.mean),
        "std": list(cfg.std),
    }


def build_network(backbone: str, num_classes: int, image_size: int, **more: Any) -> tuple[nn.Module, dict[str, Any]]:
    """timm's network with random weights, and its arguments: ``more``, and the images' side, where it depends on that.

    Raises:
        UserError: if there is none of this name, or it takes no such images.
    """
    find_tags(backbone)
    name = backbone.removeprefix(PREFIX)
    create = functools.partial(library(backbone).create_model, name, num_classes=num_classes, **more)
    try:
        return create(img_size=image_size), {"img_size": image_size, **more}
    except TypeError as error:
        # A network that takes images of any size has no such argument.
        if "img_size" not in str(error):
            raise
        return create(), more
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"data.image_size={image_size} does not fit {backbone} ({first_line(error)}): {REMEDY}."
        ) from error


def build(backbone: str, num_classes: int, image_size: int) -> tuple[nn.Module, dict[str, Any], Cut]:
    """See :class:`flowers_tl.models.libraries.Library`. Raises UserError as what it calls does."""
    cut = cut_network(backbone, image_size)
    network, arguments = build_network(backbone, num_classes, image_size, **cut.arguments)
    # As any new layer begins; some of timm's begin at zero.
    network.get_submodule(cut.final).reset_parameters()
    return network, arguments, cut


def find_function(backbone: str) -> Callable[..., nn.Module]:
    return functools.partial(library(backbone).create_model, backbone.removeprefix(PREFIX))


@functools.lru_cache
def cut_network(backbone: str, image_size: int) -> Cut:
    """How a network is cut for images of this side. Raises UserError if it takes no such images, or can't be cut."""
    with on_meta():
        network, _ = build_network(backbone, CLASSES, image_size)
        try:
            return find_cut(network, image_size)
        except UserError as error:
            # A network that has no such argument raises TypeError, one that gives it itself KeyError or TypeError.
            for more in ONE_CLASSIFIER:
                with contextlib.suppress(TypeError, KeyError, UserError):
                    network, _ = build_network(backbone, CLASSES, image_size, **more)
                    return dataclasses.replace(find_cut(network, image_size), arguments=more)
            raise UserError(f"{backbone} can't be cut into stages ({error}): use another backbone.") from error
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"data.image_size={image_size} does not fit {backbone} ({first_line(error)}): {REMEDY}."
            ) from error


def find_weights_file(backbone: str, weights: str) -> Path | None:
    """The file that is named, or that of a tag where weights are looked for; None if there is none."""
    tag, name = find_tag(backbone, weights), architecture(backbone)
    names = [weights] if tag is None else [f"{name}.{tag}.{kind}" for kind in ("safetensors", "pth", "bin")]
    return next((file for one in names if (file := find_file(one))), None)


def download(backbone: str, weights: str) -> dict[str, Tensor]:
    """The state dict of a tag, or of ``hf-hub:OWNER/NAME``, from the internet or its caches.

    Raises:
        UserError: if the weights are unknown, or can't be had.
    """
    tags, tag = find_tags(backbone), find_tag(backbone, weights)
    hub, url = weights.removeprefix("hf-hub:") if weights.startswith("hf-hub:") else None, None
    if tag is not None:
        hub, url = tags[tag].hf_hub_id, tags[tag].url
    elif hub is None:
        raise UserError(
            f"backbone.weights={weights} is no file and no weights tag of {backbone}: {suggest(weights, tags)}; hf-hub:OWNER/NAME "
            "is a repository of Hugging Face, and null means random weights."
        )
    if not hub and not url:
        raise UserError(f"timm has no weights for {backbone}: use a file with backbone.weights=PATH, or null (random).")
    try:
        if hub:
            return library(backbone).models.load_state_dict_from_hf(hub, weights_only=True)
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    # No network, no such repository, one that asks for an account: each library has errors of its own.
    except Exception as error:
        source = f"model.safetensors from https://huggingface.co/{hub}" if hub else url
        name = f"{architecture(backbone)}.{tag}.safetensors"
        place = (
            f"put it as {name} into the folder that FLOWERS_TL_WEIGHTS names, or " if hub and tag is not None else ""
        )
        raise UserError(
            f"{weights} of {backbone} can't be downloaded ({first_line(error)}): get {source}, and {place}use it as a file with "
            "backbone.weights=PATH."
        ) from error


def identify_weights(backbone: str, weights: str) -> str | None:
    tag = find_tag(backbone, weights)
    return None if tag is None else f"{architecture(backbone)}.{tag}"


def fit(
    state: dict[str, Tensor], backbone: str, network: nn.Module, weights: str
) -> tuple[dict[str, Tensor], str | None]:
    """The state dict as timm itself reads it, and how position embeddings were interpolated, if they were."""
    module = library(backbone).models.model_entrypoint(architecture(backbone)).__module__
    convert_names = getattr(import_module(module), "checkpoint_filter_fn", lambda state, network: state)
    try:
        fitted = convert_names(dict(state), network)
    # It raises nearly anything on tensors of another network.
    except Exception as error:
        raise UserError(
            f"backbone.weights={weights} does not fit {backbone} ({first_line(error)}): use others."
        ) from error
    changed = [key for key in state.keys() & fitted.keys() if "pos" in key and state[key].shape != fitted[key].shape]
    if not changed:
        return fitted, None
    old, new = ("x".join(map(str, tensor[changed[0]].shape)) for tensor in (state, fitted))
    how = f"{shorten(sorted(changed))} interpolated from {old} to {new}"
    log_note(f"The position embeddings of {weights} are made to fit the image size: {how}.")
    return fitted, how

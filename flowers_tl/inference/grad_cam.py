"""Where a network's answer comes from: Grad-CAM at any stage of any network, frozen or not."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowers_tl.models.backbone import Backbone
from flowers_tl.utils.errors import UserError, suggest


def grad_cam(backbone: Backbone, inputs: Tensor, classes: Sequence[int], stage: str | None = None) -> Tensor:
    """How much each place of a stage's output speaks for a class, and how much against it (Grad-CAM, Selvaraju et al. 2017).

    The stages up to this one run without gradient, and it is asked for at their output: so it is there though the whole
    network is frozen and the caller in inference mode, and nothing is computed for the frozen part. Weights, gradients,
    ``requires_grad`` and the modes of the modules are left as they are; the network answers as in eval mode.

    The score of a class is its logit less the mean of all logits. What a head adds to all logits alike changes no
    probability, and so changes no map: Adam pushes all logits of a fresh head down, which would leave nothing that speaks
    for any class.

    Args:
        backbone: the network.
        inputs: prepared images, float32 (n, 3, size, size), on the network's device.
        classes: the class that is asked for, image by image.
        stage: whose places the map has; None takes the last that has any.

    Returns:
        Float32 (n, h, w) on the CPU, in logits: above 0 what speaks for the class, below 0 what speaks against it, which
        the paper cuts off. Where pooling and a linear head follow, the places add up to the score less that of the bias.

    Raises:
        UserError: if there is no such stage, it has no places, or captum is not installed.
    """
    method = captum_method()
    stage = choose_stage(backbone, stage)
    behind = backbone.stage_names[backbone.stage_names.index(stage) + 1]
    places = nn.Identity()
    with torch.inference_mode(False), in_eval_mode(backbone):
        with torch.no_grad():
            features = backbone.run(
                inputs.clone(), stop=behind
            )  # a copy: no gradient flows to what inference mode made
        grid, features_of = as_grid(features)

        def scores(grid: Tensor) -> Tensor:
            logits = backbone.run(features_of(places(grid)), start=behind)
            return logits - logits.mean(dim=1, keepdim=True)

        evidence = method(scores, places).attribute(grid, target=list(classes))
    return evidence.detach().squeeze(1).float().cpu()


def captum_method() -> Any:
    """captum's Grad-CAM; it is an extra, so it may be missing.

    Raises:
        UserError: if it is not installed.
    """
    try:
        from captum.attr import LayerGradCam
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("captum"):
            raise
        raise UserError("A heat map needs captum: pip install 'flowers_tl[explain]'.") from error
    return LayerGradCam


def choose_stage(backbone: Backbone, stage: str | None = None) -> str:
    """The stage that is named, or the last one whose output has places that the head sees.

    Raises:
        UserError: if there is no such stage, or it has no such places.
    """
    names = backbone.feature_names
    if hasattr(backbone.network, "class_token"):
        names = names[:-1]  # of the last layer the head reads the class token alone: to the patches flows no gradient
    if stage is None or stage in names:
        return stage or names[-1]
    known = stage in backbone.stage_names
    wrong = "has no map, for the answer does not depend on places in its output" if known else "is unknown"
    raise UserError(f"stage={stage} of {backbone.name} {wrong}: {suggest(stage, names, most=20)}.")


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and afterwards each of its modules into the mode that it had."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def as_grid(features: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """See a stage's output as channels over places (n, c, h, w), and the way back from there.

    A ViT's tokens (n, 1 + h * w, c) are the class token, which has no place, and the patches row by row.
    """
    if features.ndim == 4:
        return features, lambda grid: grid
    token, patches = features[:, :1], features[:, 1:].transpose(1, 2)
    side = math.isqrt(patches.shape[2])
    return patches.unflatten(2, (side, side)), lambda grid: torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)

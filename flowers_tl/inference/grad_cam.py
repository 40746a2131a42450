"""Which places of an image a prediction depends on: Grad-CAM at any stage of any network, frozen or not."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError, needs_extra, suggest


def grad_cam(backbone: StagedNetwork, inputs: Tensor, classes: Sequence[int], stage: str | None = None) -> Tensor:
    """How much each place of a stage's output speaks for a class, and how much against it (Grad-CAM, Selvaraju et al. 2017).

    The stages up to this one run without gradient, which begins at their output. So it works although the whole network is
    frozen and the caller is in inference mode, and no gradient is computed for the frozen part. Weights, gradients,
    ``requires_grad`` and the modes of the modules are left as they are; the network predicts as in eval mode.

    The score of a class is its logit less the mean of all logits. What a head adds to all logits alike changes no
    probability, and so changes no map: Adam pushes all logits of a fresh head down, which would leave nothing that speaks
    for any class.

    Args:
        backbone: the network.
        inputs: prepared images, float32 (n, 3, size, size), on the network's device.
        classes: the class to look for, image by image.
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
            # A copy: no gradient flows to tensors of inference mode.
            features = backbone.run(inputs.clone(), stop=behind)
        # What a head over several stages takes of earlier ones is beside it, and stays as it is.
        features, *earlier = features if isinstance(features, tuple) else (features,)
        grid, features_of = as_grid(features, backbone)

        def scores(grid: Tensor) -> Tensor:
            x = features_of(places(grid))
            logits = backbone.run((x, *earlier) if earlier else x, start=behind)
            return logits - logits.mean(dim=1, keepdim=True)

        evidence = method(scores, places).attribute(grid, target=list(classes))
    return evidence.detach().squeeze(1).float().cpu()


def captum_method() -> Any:
    """captum's Grad-CAM; it is an extra, so it may be missing.

    Raises:
        UserError: if it is not installed.
    """
    with needs_extra("captum", "A heat map needs captum", "explain"):
        from captum.attr import LayerGradCam
    return LayerGradCam


def choose_stage(backbone: StagedNetwork, stage: str | None = None) -> str:
    """The stage that is named, or the last one whose output has places that the head sees.

    Raises:
        UserError: if there is no such stage, or it has no such places.
    """
    names = backbone.feature_stage_names
    if hasattr(backbone.network, "class_token") or getattr(backbone.network, "global_pool", None) == "token":
        # Of the last layer the head reads the class token alone: no gradient flows to the patches.
        names = names[:-1]
    if not names:
        raise UserError(
            f"{backbone.name} has no heat map, since no places are left in what its stages give to the head."
        )
    if stage is None or stage in names:
        return stage or names[-1]
    known = stage in backbone.stage_names
    wrong = "has no map, since its output has no places that the head sees" if known else "is unknown"
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


def as_grid(features: Tensor, backbone: StagedNetwork) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A stage's output as channels over places (n, c, h, w), and the function that turns it back.

    A ViT's tokens (n, k + h * w, c) are k without a place, such as the class token, and the patches row by row. timm says
    how many these are. Some networks have their channels last.

    Raises:
        UserError: if the output is no grid of places.
    """
    last = getattr(backbone.network, "output_fmt", None) == "NHWC"
    # Places are as wide as high.
    if features.ndim == 4 and (last or features.shape[2] != features.shape[3]):
        return features.permute(0, 3, 1, 2), lambda grid: grid.permute(0, 2, 3, 1)
    if features.ndim == 4:
        return features, lambda grid: grid
    count = features.shape[1] if features.ndim == 3 else 0
    others = getattr(backbone.network, "num_prefix_tokens", count - math.isqrt(count) ** 2)
    side = math.isqrt(max(0, count - others))
    if not side or side**2 + others != count:
        raise UserError(
            f"The outputs {tuple(features.shape[1:])} of {backbone.name} have no places: use another stage."
        )
    tokens, patches = features[:, :others], features[:, others:].transpose(1, 2)
    return patches.unflatten(2, (side, side)), lambda grid: torch.cat([tokens, grid.flatten(2).transpose(1, 2)], dim=1)

"""The predictions for an image and the places that they depend on, ready to be drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from flowers_tl.data.transforms import denormalise
from flowers_tl.inference.grad_cam import choose_stage, grad_cam
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError, suggest

# Side of a map, in pixels, whatever the size of the images: maps of different networks can be compared.
SIDE = 224


@dataclass(frozen=True, eq=False)
class Explanation:
    """A network's predictions for an image, and the heat map of one class.

    Attributes:
        image: the name of its file.
        pixels: float32 (size, size, 3) from 0 to 1, the crop that the network takes.
        top: the most likely classes and their probabilities, the most likely first.
        target: the class of the heat map, and its probability.
        evidence: float32 (SIDE, SIDE), the heat map: 0 where there is no evidence for the class, 1 where it is as strong as
            evidence for and against is on average in this image. So networks whose logits differ in size can be compared.
        places: how many a heat map has from left to right, and the stage whose output has them; empty without a heat map.
    """

    image: str
    pixels: np.ndarray
    top: Sequence[tuple[str, float]]
    target: tuple[str, float]
    evidence: np.ndarray
    places: str


def prepare_first(
    network: Predictor, images: Iterable[Path], most: int, unreadable: Callable[[UserError], None]
) -> dict[Path, Tensor]:
    """The first ``most`` images that can be read, as the network takes them; ``unreadable`` gets the errors of others."""
    readable = islice(network.batches(images, 1, unreadable), most)
    return {Path(str(image)): inputs[0] for (image,), inputs in readable}


def explain_images(
    network: Predictor,
    prepared: dict[Path, Tensor],
    top: int = 5,
    targets: Sequence[str] | None = None,
    stage: str | None = None,
    heat: bool = True,
) -> list[Explanation]:
    """Predict the classes of each image, and compute the heat map of one of them.

    Args:
        network: the network.
        prepared: images as the network takes them, by file.
        top: how many classes to name.
        targets: the class of the heat map, image by image; None takes the most likely.
        stage: see :func:`flowers_tl.inference.grad_cam.grad_cam`.
        heat: False leaves the maps out, and needs no captum.

    Raises:
        UserError: if the network has no such class or stage.
    """
    inputs = torch.stack(list(prepared.values()))
    shares = network.probabilities(inputs)
    classes = shares.argmax(dim=1).tolist() if targets is None else [class_index(network, name) for name in targets]
    maps, places = np.zeros((len(inputs), SIDE, SIDE), np.float32), ""
    if heat:
        maps, places = compute_heat(network, inputs, classes, stage)
    pixels = denormalise(inputs, *network.backbone.norm).permute(0, 2, 3, 1).numpy()
    best = network.top_classes(shares, top)
    return [
        Explanation(file.name, pixels[k], best[k], (network.class_names[c], shares[k, c].item()), maps[k], places)
        for k, (file, c) in enumerate(zip(prepared, classes, strict=True))
    ]


def explain_same_classes(
    networks: Sequence[Predictor],
    prepared: dict[Path, Tensor],
    top: int = 5,
    wanted: str | None = None,
    stage: str | None = None,
) -> list[list[Explanation]]:
    """Explain one class in each image by each network: ``wanted``, or else the most likely one to the first network.

    Args:
        networks: the first of which has prepared the images.
        prepared, top, stage: see :func:`explain_images`.
        wanted: the class of the heat maps.

    Raises:
        UserError: if a network has no such class or stage.
    """
    targets = [wanted] * len(prepared) if wanted else None
    explanations = [explain_images(networks[0], prepared, top, targets, stage)]
    targets = [explanation.target[0] for explanation in explanations[0]]
    for network in networks[1:]:
        # Again, in the size that this network was trained on.
        inputs = {file: network.prepare(file) for file in prepared}
        explanations.append(explain_images(network, inputs, top, targets, stage))
    return explanations


def compute_heat(
    network: Predictor, inputs: Tensor, classes: Sequence[int], stage: str | None
) -> tuple[np.ndarray, str]:
    """The heat maps (n, SIDE, SIDE) of prepared images (n, 3, size, size), and their places in words."""
    stage = choose_stage(network.backbone, stage)
    evidence = grad_cam(network.backbone, inputs.to(network.device), classes, stage)
    strength = evidence.abs().mean(dim=(1, 2), keepdim=True)
    relative = evidence.relu() / strength.clamp_min(torch.finfo(strength.dtype).tiny)
    values = interpolate(relative[:, None], (SIDE, SIDE), mode="bilinear").squeeze(1).numpy()
    return values, f"{stage}, {evidence.shape[2]} by {evidence.shape[2]} places"


def class_index(network: Predictor, name: str) -> int:
    """Where a class stands among the network's."""
    if name not in network.class_names:
        raise UserError(f"{network.name} has no class '{name}': {suggest(name, network.class_names)}.")
    return network.class_names.index(name)

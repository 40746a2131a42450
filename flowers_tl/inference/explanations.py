"""What a network sees in an image and where, ready to be drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from flowers_tl.data.transforms import denormalise
from flowers_tl.inference.grad_cam import choose_stage, grad_cam
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError, suggest

SIDE = 224  # of a drawn map, in pixels, whatever the size of the images: maps of different networks can be compared


@dataclass(frozen=True, eq=False)
class Heat:
    """Where a network's answer comes from.

    Attributes:
        stage: whose output was asked.
        places: how many it has, from left to right.
        values: float32 (SIDE, SIDE), what speaks for the class: 0 where nothing does, 1 where it is as strong as evidence
            for and against is on average in this image. So networks whose logits differ in size can be compared.
    """

    stage: str
    places: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network sees in an image.

    Attributes:
        image: the name of its file.
        pixels: float32 (size, size, 3) from 0 to 1, the part that the network sees.
        answers: the most likely classes and their probabilities, the first first.
        asked: the class that is looked for, and its probability.
        heat: where it is seen; None if nobody asked.
    """

    image: str
    pixels: np.ndarray
    answers: tuple[tuple[str, float], ...]
    asked: tuple[str, float]
    heat: Heat | None = None


def prepare_first(
    network: Predictor, images: Iterable[Path], most: int, unreadable: Callable[[UserError], None]
) -> dict[Path, Tensor]:
    """The first ``most`` images that can be read, as the network takes them; of the others before, ``unreadable`` is told."""
    found: dict[Path, Tensor] = {}
    for image in images:
        if len(found) == most:
            break
        try:
            found[image] = network.prepare(image)
        except UserError as error:
            unreadable(error)
    return found


def explain_images(
    network: Predictor,
    prepared: dict[Path, Tensor],
    top: int = 5,
    asked: Sequence[str] | None = None,
    stage: str | None = None,
    heat: bool = True,
) -> list[Explanation]:
    """Answer for each image, and say where the answer comes from.

    Args:
        network: that answers.
        prepared: images as the network takes them, by file.
        top: how many classes to name.
        asked: the class to look for, image by image; None takes the most likely.
        stage: see :func:`flowers_tl.inference.grad_cam.grad_cam`.
        heat: False leaves the maps out, and needs no captum.

    Raises:
        UserError: if the network has no such class or stage.
    """
    if top < 1:
        raise UserError(f"top={top} must be at least 1.")
    inputs = torch.stack(list(prepared.values()))
    shares = network.probabilities(inputs)
    classes = shares.argmax(dim=1).tolist() if asked is None else [class_index(network, name) for name in asked]
    maps = compute_heat(network, inputs, classes, stage) if heat else [None] * len(inputs)
    pixels = denormalise(inputs).permute(0, 2, 3, 1).numpy()
    views = []
    for k, file in enumerate(prepared):
        best = shares[k].topk(min(top, len(network.class_names)))
        answers = tuple(
            (network.class_names[c], p) for p, c in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        wanted = (network.class_names[classes[k]], shares[k, classes[k]].item())
        views.append(Explanation(file.name, pixels[k], answers, wanted, maps[k]))
    return views


def explain_same_classes(
    networks: Sequence[Predictor],
    prepared: dict[Path, Tensor],
    top: int = 5,
    wanted: str | None = None,
    stage: str | None = None,
) -> list[list[Explanation]]:
    """What each network sees of one class in each image: of ``wanted``, or else of what the first network answers.

    Args:
        networks: the first of which has prepared the images.
        prepared, top, stage: see :func:`look`.
        wanted: the class to look for.

    Raises:
        UserError: if a network has no such class or stage.
    """
    asked, seen = [wanted] * len(prepared) if wanted else None, []
    for network in networks:
        own = (
            {file: network.prepare(file) for file in prepared} if seen else prepared
        )  # in the size that it learned from
        seen.append(explain_images(network, own, top, asked, stage))
        asked = asked or [view.asked[0] for view in seen[0]]
    return seen


def compute_heat(network: Predictor, inputs: Tensor, classes: Sequence[int], stage: str | None) -> list[Heat]:
    """The maps of prepared images."""
    evidence = grad_cam(network.backbone, inputs.to(network.device), classes, stage)
    strength = evidence.abs().mean(dim=(1, 2), keepdim=True)
    relative = evidence.relu() / strength.clamp_min(torch.finfo(strength.dtype).tiny)
    values = interpolate(relative[:, None], (SIDE, SIDE), mode="bilinear").squeeze(1).numpy()
    return [Heat(choose_stage(network.backbone, stage), evidence.shape[2], own) for own in values]


def class_index(network: Predictor, name: str) -> int:
    """Where a class stands among the network's."""
    if name not in network.class_names:
        raise UserError(f"{network.name} has no class '{name}': {suggest(name, network.class_names)}.")
    return network.class_names.index(name)

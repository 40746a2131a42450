"""A depth profile: what a solved head and the nearest neighbours make of the pooled output of each stage.

It costs one pass of the train and val images, and shows how deep in a network the features lie that these images like.
"""

import hashlib
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.writer import Writer
from flowers_tl.models.frozen_heads import TEMPERATURE, NearestNeighbours
from flowers_tl.models.frozen_prefix import BATCH
from flowers_tl.models.linear_probe import run_lbfgs
from flowers_tl.models.pooling import find_scale
from flowers_tl.training.feature_data import FeatureDataModule
from flowers_tl.utils.notes import track

NEIGHBOURS = 5
# Of features that are scaled to a variance of one; the best by val loss counts.
WEIGHT_DECAYS, ITERATIONS = (1e-1, 1e-2, 1e-3), 60


@dataclass(frozen=True)
class StageScore:
    """Validation accuracy of a solved head, and of the nearest neighbours, on the pooled output of a stage."""

    backbone: str
    stage: str
    features: int
    solved: float
    neighbours: float


def pooled_outputs(features: FeatureDataModule, split: str) -> Tensor:
    """The features of all stages side by side, float32 (n, all features), from the cache or into it."""
    return features.outputs(split, "centre", "head").float().cpu()


@torch.inference_mode()
def seconds_by_stage(features: FeatureDataModule, images: int = 32) -> dict[str, float]:
    """Seconds of one image in each stage before the head, measured with a few."""
    data, backbone = features.data, features.model.backbone.to(features.device, memory_format=torch.channels_last)
    seconds = dict.fromkeys(backbone.stage_names[:-1], 0.0)
    pixels = features.images("train", random=False).__getitems__(list(range(min(images, data.sizes["train"]))))[0]
    # The first few are there to warm up.
    for number, few in enumerate([pixels[:4], *pixels.split(BATCH[features.device.type])]):
        x, start = backbone.normalise(few.to(features.device)), None
        x = x.contiguous(memory_format=torch.channels_last)
        for name, stop in pairwise(backbone.stage_names):
            begun = time.perf_counter()
            x, start = backbone.run(x, start, stop), stop
            # A GPU has computed it when a value is read.
            (x[0] if isinstance(x, tuple) else x).sum().item()
            seconds[name] += (time.perf_counter() - begun) * bool(number)
    return {name: value / len(pixels) for name, value in seconds.items()}


def profile(features: FeatureDataModule, name: str) -> list[StageScore]:
    """Score each stage of the network with this name in the race on its images, the first stage first; scores are kept."""
    splits, backbone = ("train", "val"), features.model.backbone
    labels = [features.labels(split) for split in splits]
    widths = backbone.network.get_submodule(backbone.final).widths

    def build(writer: Writer) -> None:
        outputs = [pooled_outputs(features, split) for split in splits]
        parts = list(zip(*(values.split([*widths.values()], dim=1) for values in outputs), strict=True))
        for train, val in track(parts, f"Solving a head for each stage of {name}"):
            centre, scale = find_scale(train)
            train, val = ((part - centre) * scale for part in (train, val))
            scores = [score(train, labels[0], val, labels[1]) for score in (solved_accuracy, neighbour_accuracy)]
            writer.write(torch.tensor([train.shape[1], *scores], dtype=torch.float64))

    what = f"{features.data.name}: scores of each stage of {name}"
    description: dict[str, Any] = {"outputs": [features.describe((split, "centre", "head")) for split in splits]}
    description["labels"] = hashlib.sha256(torch.cat(labels).numpy().tobytes()).hexdigest()
    description["scores"] = [NEIGHBOURS, TEMPERATURE, WEIGHT_DECAYS, ITERATIONS]
    cache = cast(Cache, features.data.cache)
    rows = cache.get("scores", what, description, "solve", build).tensor(torch.float64).view(-1, 3)
    return [StageScore(name, stage, int(row[0]), *row[1:]) for stage, row in zip(widths, rows.tolist(), strict=True)]


def solved_accuracy(train: Tensor, known: Tensor, val: Tensor, answers: Tensor) -> float:
    """Validation accuracy of the head with the least val loss among the weight decays; features (n, d), labels (n,)."""
    best: tuple[float, float] = (float("inf"), 0.0)
    head = nn.Linear(train.shape[1], int(max(known.max(), answers.max())) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    for decay in WEIGHT_DECAYS:
        run_lbfgs(lambda: cross_entropy(head(train), known), head, decay, max_iter=ITERATIONS)
        with torch.no_grad():
            logits = head(val)
            accuracy = (logits.argmax(1) == answers).double().mean().item()
            best = min(best, (cross_entropy(logits, answers).item(), accuracy))
    return best[1]


def neighbour_accuracy(train: Tensor, known: Tensor, val: Tensor, answers: Tensor) -> float:
    """Validation accuracy of the vote of the nearest train images; features (n, d), labels (n,)."""
    head = NearestNeighbours(train.shape[1], int(known.max()) + 1)
    head.remember(train, known)
    head.choose(min(NEIGHBOURS, len(train)))
    right = [head(part).argmax(1) == label for part, label in zip(val.split(1024), answers.split(1024), strict=True)]
    return torch.cat(right).double().mean().item()

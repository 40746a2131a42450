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
from torch.nn.functional import cross_entropy, one_hot

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.cached.writer import Writer
from flowers_tl.models.frozen_prefix import BATCH, full_fp32
from flowers_tl.models.linear_probe import descend
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


def pool(x: Tensor) -> Tensor:
    """Mean over the places of a stage's output, (n, features): maps in either order of dimensions, and tokens."""
    if x.ndim == 4:
        return x.mean((2, 3) if x.shape[2] == x.shape[3] else (1, 2))
    return x.mean(1) if x.ndim == 3 else x


@torch.inference_mode()
def stage_outputs(features: FeatureDataModule, pixels: Tensor, seconds: dict[str, float] | None = None) -> list[Tensor]:
    """The pooled output of each stage before the head for uint8 images (n, 3, side, side), float32 (n, features).

    What each stage takes is added to its ``seconds``.
    """
    backbone, rows = features.model.backbone.to(memory_format=torch.channels_last), []
    for few in pixels.split(BATCH[features.device.type]):
        x, start, row = backbone.normalise(few.to(features.device)), None, []
        x = x.contiguous(memory_format=torch.channels_last)
        for name, stop in pairwise(backbone.stage_names):
            begun = time.perf_counter()
            x = backbone.run(x, start, stop)
            start = stop
            row.append(pool(x).float())
            if seconds is not None:
                # A GPU has computed it when a value is read.
                row[-1].sum().item()
                seconds[name] += time.perf_counter() - begun
        rows.append(row)
    return [torch.cat(parts) for parts in zip(*rows, strict=True)]


@full_fp32()
def pooled_outputs(features: FeatureDataModule, split: str) -> Tensor:
    """The pooled outputs of all stages side by side, float32 (n, all features), from the cache or into it."""
    images, name = features.images(split, random=False), features.model.backbone.name
    what = f"{features.data.name}, {split}: pooled outputs of each stage of {name}"
    description = features.describe((split, "centre", "head")) | {"pooled": True}
    entry = features.keep(
        what, description, images, range(len(images)), lambda pixels: torch.cat(stage_outputs(features, pixels), 1)
    )
    return entry.tensor(torch.float32).view(len(images), -1)


def seconds_by_stage(features: FeatureDataModule, images: int = 32) -> dict[str, float]:
    """Seconds of one image in each stage before the head, measured with a few."""
    data, seconds = features.data, dict.fromkeys(features.model.backbone.stage_names[:-1], 0.0)
    few = features.images("train", random=False).__getitems__(list(range(min(images, data.sizes["train"]))))[0]
    stage_outputs(features, few[:4])
    stage_outputs(features, few, seconds)
    return {name: value / len(few) for name, value in seconds.items()}


def profile(features: FeatureDataModule, name: str) -> list[StageScore]:
    """Score each stage of the network with this name in the race on its images, the first stage first; scores are kept."""
    splits, stages = ("train", "val"), features.model.backbone.to(features.device).stage_names[:-1]
    labels = [features.labels(split) for split in splits]

    def build(writer: Writer) -> None:
        outputs = [pooled_outputs(features, split) for split in splits]
        few = features.images("train", random=False).__getitems__([0])[0]
        widths = [part.shape[1] for part in stage_outputs(features, few)]
        parts = list(zip(*(values.split(widths, dim=1) for values in outputs), strict=True))
        for train, val in track(parts, f"Solving a head for each stage of {name}"):
            scale = train.std(0).clamp_min(1e-6)
            train, val = (train - train.mean(0)) / scale, (val - train.mean(0)) / scale
            scores = [score(train, labels[0], val, labels[1]) for score in (solved_accuracy, neighbour_accuracy)]
            writer.write(torch.tensor([train.shape[1], *scores], dtype=torch.float64))

    what = f"{features.data.name}: scores of each stage of {name}"
    description: dict[str, Any] = {"outputs": [features.describe((split, "centre", "head")) for split in splits]}
    description["labels"] = hashlib.sha256(torch.cat(labels).numpy().tobytes()).hexdigest()
    description["scores"] = [NEIGHBOURS, WEIGHT_DECAYS, ITERATIONS]
    cache = cast(Cache, features.data.cache)
    rows = cache.get("scores", what, description, "solve", build).tensor(torch.float64).view(-1, 3)
    return [StageScore(name, stage, int(row[0]), *row[1:]) for stage, row in zip(stages, rows.tolist(), strict=True)]


def solved_accuracy(train: Tensor, known: Tensor, val: Tensor, answers: Tensor) -> float:
    """Validation accuracy of the head with the least val loss among the weight decays; features (n, d), labels (n,)."""
    best: tuple[float, float] = (float("inf"), 0.0)
    head = nn.Linear(train.shape[1], int(max(known.max(), answers.max())) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    for decay in WEIGHT_DECAYS:
        descend(lambda: cross_entropy(head(train), known), head, decay, max_iter=ITERATIONS)
        with torch.no_grad():
            logits = head(val)
            accuracy = (logits.argmax(1) == answers).double().mean().item()
            best = min(best, (cross_entropy(logits, answers).item(), accuracy))
    return best[1]


def neighbour_accuracy(train: Tensor, known: Tensor, val: Tensor, answers: Tensor) -> float:
    """Validation accuracy of the vote of the nearest train images by the cosine of their features."""
    train, val = (nn.functional.normalize(part) for part in (train, val))
    right = 0
    for part, label in zip(val.split(1024), answers.split(1024), strict=True):
        near = (part @ train.T).topk(min(NEIGHBOURS, len(train)), dim=1)
        votes = (one_hot(known[near.indices], int(known.max()) + 1) * near.values[..., None]).sum(1)
        right += int((votes.argmax(1) == label).sum())
    return right / len(answers)

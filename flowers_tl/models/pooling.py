"""The outputs of all stages as features, for a head that takes more than the last stage's: their means over the places."""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def find_places(shape: torch.Size) -> tuple[int, ...]:
    """Dimensions of a stage's output (n, ...) that are places: of maps in either order of dimensions, of tokens, or none."""
    if len(shape) == 4:
        return (2, 3) if shape[2] == shape[3] else (1, 2)
    return (1,) if len(shape) == 3 else ()


def pool(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """Mean over the places of a stage's output, (n, features)."""
    return x.mean(places) if places else x


def run_stages(
    run: Callable[[Any, Any], Any], stages: Iterable[Any], x: Any, places: Mapping[str, tuple[int, ...]]
) -> Any:
    """Run stages one after another; where ``places`` are known of what enters each, the neck puts out all features.

    Args:
        run: maps a stage and what enters it to its output.
        stages: of the row, in their order.
        x: what enters the first, (n, ...), in a tuple with the features of the stages before it where these are pooled.
        places: for each stage but the first, see :func:`find_places`; empty: nothing is pooled.

    Returns:
        What the last one puts out, in the same form; after the neck the features of all stages before the head, (n, features).
    """
    x, *features = x if isinstance(x, tuple) else (x,)
    for stage in stages:
        # Here, and not behind the stage before: a heat map of its places has the features' part in it.
        if stage.name in places and stage.name != "head":
            features.append(pool(x, places[stage.name]))
        x = run(stage, x)
        if stage.name == "neck" and places:
            x, features = torch.cat([*features, pool(x, places["head"])], 1), []
    return (x, *features) if features else x


def find_scale(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and factor for a variance of 1, of each feature over the training images, (n, features).

    A feature that is the same in all of them tells nothing of another image: its factor is 0.
    """
    spread = features.std(0, unbiased=False)
    return features.mean(0), torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)


class StageLinear(nn.Linear):
    """A linear layer over the features of some stages, out of those of all, (n, all features).

    Args:
        widths: number of features of each stage before the head, in their order.
        stages: those whose features it takes.
        num_classes: its outputs.
    """

    def __init__(self, widths: Mapping[str, int], stages: Container[str], num_classes: int) -> None:
        parts = dict(zip(widths, torch.arange(sum(widths.values())).split([*widths.values()]), strict=True))
        taken = [part for name, part in parts.items() if name in stages]
        super().__init__(sum(map(len, taken)), num_classes)
        self.widths = dict(widths)
        # The strategy says which, so no state dict needs to.
        self.register_buffer("columns", torch.cat(taken), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, self.columns])

    def scale(self, features: Tensor) -> Tensor:
        """Factors of features (n, all features) by which those of unlike stages count alike, (all features,).

        All have the same variance then: the mean of the variances that the neck's have, so that a weight decay is as strong as
        with the neck alone. A stage counts by how many features it has.
        """
        neck = features[:, -[*self.widths.values()][-1] :]
        return find_scale(features)[1] * neck.var(0, unbiased=False).mean().sqrt()

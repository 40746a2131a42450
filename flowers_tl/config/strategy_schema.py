"""What a strategy's table may say, typed, for :mod:`flowers_tl.config.schema`."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING


@dataclass
class RowConfig:
    stage: Any = MISSING
    """A stage's name (`head`), an index over stem and feature stages (-1: the last), a Python slice ("2:", ":head"), or `all`."""
    lr: Any = MISSING
    """Learning rate of these stages. `x0.5` is a factor: the first stage of the slice gets 0.5 times the rate of the row above, each
    next stage in the order of the slice 0.5 times the one before."""
    from_epoch: int = 0
    """First epoch, counted from 0, in which these stages are trained."""
    every: int | None = None
    """Number of epochs between the start of one stage of the row and the start of the next; null: all start together."""
    weight_decay: float | None = None
    """Weight decay of these stages; null: optimizer.weight_decay."""
    only: list[str] | None = None
    """List of the kinds of parameters that are trained, such as [norm] or [norm,bias]; `weight` is all others; null: all."""
    adapter: str | None = None
    """`lora`: train low-rank updates of the layers of these stages; their own weights stay frozen. null: train the weights."""
    rank: int | None = None
    """Rank of these updates; null: 8. If a layer has fewer inputs or outputs, this smaller number is its rank."""
    alpha: float | None = None
    """The updates are multiplied by alpha / rank; null: by 1."""
    layers: list[str] | None = None
    """Layers with an adapter: list of attention, mlp and conv; null: those of the attention where the stages have any, else all."""
    l2_sp: float | None = None
    """Strength of a pull towards the pretrained weights: the gradient of l2_sp / 2 times the squared distance; null: none."""


@dataclass
class StrategyConfig:
    name: str = MISSING
    """Name of the strategy in records and comparisons."""
    table: list[RowConfig] = MISSING
    """The trainable stages; all others are frozen."""
    weights: str = "pretrained"
    """`pretrained` starts from backbone.weights; `random` ignores backbone.weights."""
    head: str = "random"
    """`random`: start with a random head. `solved`: start with the best head for the pretrained features, computed by L-BFGS.
    `neighbours`: no layer, but the vote of the training images whose features are nearest."""
    frozen_batchnorm: str = "eval"
    """`eval`: frozen BatchNorm layers keep their statistics. `train`: each batch updates these statistics, as after
    model.train() in PyTorch."""
    head_from: list[Any] | None = None
    """Stages whose outputs a solved head takes, averaged over their places: a list of what `stage` allows; null: the neck."""
    neighbours: list[int] | None = None
    """For head: neighbours: numbers of neighbours of which the best on val is selected; null: 1, 2, 5, 10, 20, 50, 100 and 200, as far
    as there are so many training images."""

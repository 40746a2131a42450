"""Heads on a frozen network that are not its own last layer: over the outputs of several stages, or nearest neighbours.

The outputs of stages become features by their mean over the places. All stages of a network are pooled in one pass, whichever
of them a head takes, so what is kept serves every choice of stages (and the depth profile of ``advise``).
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from flowers_tl.models.backbone import Stage, StagedNetwork
from flowers_tl.models.linear_probe import validate_finite_features
from flowers_tl.models.partial_run import Point
from flowers_tl.models.pooling import StageLinear, find_places, find_scale, pool
from flowers_tl.models.strategy import Strategy
from flowers_tl.utils.errors import UserError, first_line

# By which the similarity of a neighbour is divided before it becomes the weight of a vote: that of Wu et al. 2018.
TEMPERATURE = 0.07
# Numbers of neighbours to choose from, as far as there are so many training images.
NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100, 200)
# Images whose similarities to all training images are computed at a time.
COMPARED = 256


@dataclass(frozen=True)
class Vote:
    """Nearest neighbours with one number of them, and how they score."""

    neighbours: int
    val_loss: float
    val_accuracy: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class NearestNeighbours(nn.Module):
    """The vote of the training images whose features are nearest by their cosine; it has no parameters.

    Features are centred and divided by their standard deviation over the training images. A neighbour with the similarity s
    has a vote of exp((s - 1) / 0.07) (Wu et al. 2018), and all classes share one further vote, that of the farthest neighbour,
    so that none has the probability zero. Logits are the logarithms of the votes.

    Args:
        width: number of features.
        num_classes: its outputs.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        # Until there are training images: one, so that shapes and FLOPs can be found out.
        self.register_buffer("images", torch.ones(1, width))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.long))
        self.register_buffer("neighbours", torch.ones((), dtype=torch.long))
        self.k = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.vote(*self.find(x, self.k))

    def direction(self, x: Tensor) -> Tensor:
        """What enters the head as vectors of length 1, (n, features)."""
        return normalize((pool(x, find_places(x.shape)) - self.centre) * self.scale)

    def find(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Similarities and labels of the ``k`` nearest training images, the nearest first, both (n, k)."""
        similar, places = (self.direction(x) @ self.images.T).topk(k)
        return similar, self.labels[places]

    def vote(self, similar: Tensor, labels: Tensor) -> Tensor:
        """Logits (n, classes) of neighbours (n, k)."""
        votes = ((similar - 1) / TEMPERATURE).exp()
        of_class = labels[..., None] == torch.arange(self.num_classes, device=labels.device)
        return ((of_class * votes[..., None]).sum(1) + votes[:, -1:] / self.num_classes).log()

    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Take over the training images: what enters the head, (n, ...), and labels (n,)."""
        self.centre, self.scale = find_scale(pool(features, find_places(features.shape)))
        self.images, self.labels = self.direction(features), labels

    def choose(self, k: int) -> None:
        self.k = k
        self.neighbours.fill_(k)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        """Take as many images as the state dict has."""
        for name in ("images", "labels"):
            if (saved := state.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        self.k = int(state.get(prefix + "neighbours", self.k))
        super()._load_from_state_dict(state, prefix, *arguments)


class OwnHead(Stage):
    """The stage of a head that is not the network's own: that module alone."""

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        return network.get_submodule(self.members[0])(x)


def has_own_head(strategy: Strategy) -> bool:
    """Whether the head is another than a new last layer of the library's network."""
    return strategy.head == "neighbours" or strategy.head_from is not None


def replace_head(backbone: StagedNetwork, strategy: Strategy, num_classes: int, image_size: int) -> None:
    """Put the head that a strategy names into the place of the network's last layer, where it is another.

    Raises:
        UserError: if a stage in ``head_from`` is unknown, the network does not take images of this size, or the strategy says
            what such a head can't do.
    """
    for key, kind in (("head_from", "solved"), ("neighbours", "neighbours")):
        if (value := getattr(strategy, key)) is not None and (strategy.head != kind or not value):
            raise UserError(
                f"strategy.{key}={value} must be a list with a value, beside strategy.head={kind}: leave it out, or set both."
            )
    if not has_own_head(strategy):
        return
    if strategy.table:
        raise UserError(
            f"Strategy '{strategy.name}' trains stages, but its head is computed once, from a network that stays as it is: set "
            "strategy.table=[], or another strategy.head without strategy.head_from."
        )
    old = backbone.network.get_submodule(backbone.final)
    head: nn.Module = NearestNeighbours(old.in_features if isinstance(old, nn.Linear) else old.in_channels, num_classes)
    if strategy.head_from is not None:
        names = [
            strategy.resolve(row, backbone.stage_names, backbone.feature_stage_names) for row in strategy.head_from
        ]
        if not (selected := {name for row in names for name in row} - {"head"}):
            raise UserError(f"strategy.head_from={strategy.head_from} names no stage before the head: add one.")
        shapes = entry_shapes(backbone, image_size)
        backbone.places = {stage: find_places(shape) for stage, shape in shapes.items()}
        widths = [pool(torch.empty(shape, device="meta"), find_places(shape)).shape[1] for shape in shapes.values()]
        head = StageLinear(dict(zip(backbone.stage_names, widths, strict=False)), selected, num_classes)
    backbone.network.set_submodule(backbone.final, head)
    # What the library does with the outputs of its own last layer may make no sense with these.
    backbone.stages = (*backbone.stages[:-1], OwnHead("head", (backbone.final,), backbone.stages[-1].start, None))
    backbone.by_stages = strategy.head_from is not None or isinstance(old, nn.Conv2d)


def in_one_forward(backbone: StagedNetwork) -> nn.Module:
    """A copy of a network whose head takes the outputs of several stages, in which the library's own forward computes them.

    Exporters can follow that: hooks pool what enters each stage, and hand all to the head.

    Raises:
        UserError: if a stage begins at a later call of a module.
    """
    network, starts = copy.deepcopy(backbone.network), [cast("Point", stage.start) for stage in backbone.stages[1:-1]]
    if any(start.number for start in starts):
        raise UserError(f"{backbone.name} with this head can't be exported: use strategy.head_from=null.")
    features: list[Tensor] = []

    def collect(x: Tensor, places: tuple[int, ...]) -> None:
        features.append(pool(x, places))

    def hand_over(module: nn.Module, taken: tuple[Tensor]) -> tuple[Tensor]:
        entered, features[:] = [*features, pool(taken[0], find_places(taken[0].shape))], []
        return (torch.cat(entered, 1),)

    for stage, start in zip(backbone.stages[1:-1], starts, strict=True):
        module, places = network.get_submodule(start.module), backbone.places[stage.name]
        if start.at_input:
            module.register_forward_pre_hook(lambda _, taken, places=places: collect(taken[0], places))
        else:
            module.register_forward_hook(lambda _, taken, given, places=places: collect(given, places))
    network.get_submodule(backbone.final).register_forward_pre_hook(hand_over)
    return network


def entry_shapes(backbone: StagedNetwork, image_size: int) -> dict[str, torch.Size]:
    """Shape of what enters each stage but the first, for one image, (1, ...), without the features of earlier stages.

    Raises:
        UserError: if the network does not take images of this size.
    """
    with torch.device("meta"):
        backbone = copy.deepcopy(backbone).to("meta").eval()
        x = torch.empty(1, 3, image_size, image_size)
    shapes, start = {}, None
    try:
        for stage in backbone.stage_names[1:]:
            x = backbone.run(x, start, stage)
            shapes[stage], start = (x[0] if isinstance(x, tuple) else x).shape, stage
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"data.image_size={image_size} does not fit {backbone.name} ({first_line(error)}): use 224, or another backbone."
        ) from error
    return shapes


def choose_neighbours(
    backbone: StagedNetwork,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    candidates: Sequence[int] | None = None,
) -> tuple[Vote, list[Vote]]:
    """Let the head of nearest neighbours take over the training images, with the number of neighbours that is best on val.

    Best is the highest val accuracy, and of equal ones the lowest val loss: the loss depends on how votes become probabilities.

    Args:
        backbone: whose head is one of :class:`NearestNeighbours`.
        train, val: what enters the head, (n, ...), and labels (n,).
        candidates: numbers of neighbours; None: those of NEIGHBOURS.

    Returns:
        The best, and all of them.

    Raises:
        UserError: if a number is not finite.
    """
    validate_finite_features(train[0], val[0])
    backbone.eval().to(train[0].device)
    head = backbone.network.get_submodule(backbone.final)
    head.remember(*train)
    numbers = [k for k in candidates or NEIGHBOURS if k <= len(train[0])]
    near = [head.find(part, max(numbers)) for part in val[0].split(COMPARED)]
    votes = []
    for k in numbers:
        logits = torch.cat([head.vote(similar[:, :k], labels[:, :k]) for similar, labels in near])
        accuracy = (logits.argmax(1) == val[1]).double().mean().item()
        votes.append(Vote(k, cross_entropy(logits, val[1]).item(), accuracy))
    best = max(votes, key=lambda vote: (vote.val_accuracy, -vote.val_loss))
    head.choose(best.neighbours)
    return best, votes

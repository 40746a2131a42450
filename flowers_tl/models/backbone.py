"""A network of torchvision or timm as an ordered row of named stages.

Every network becomes ``stem | feature stages | neck | head``. A feature stage is what works at one resolution (in a
ViT: one encoder layer). The neck is what lies between the features and the head: pooling, in some networks
pretrained layers of the classifier, in SqueezeNet nothing. The head is the final Linear or Conv with the dropout before
it; the final layer is replaced by one with the data's number of classes. The library's module stays whole, so its
state dict has the plain names. timm's networks are cut by the rule in :mod:`flowers_tl.models.cut`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models import get_model

from flowers_tl.config.backbones import ARCHITECTURES
from flowers_tl.data.transforms import ARTICLE, Preprocessing, normalise
from flowers_tl.models.cut import Cut
from flowers_tl.models.partial_run import run_between
from flowers_tl.models.pooling import run_stages
from flowers_tl.models.timm_networks import build_network, cut_network, is_timm, validate_cut
from flowers_tl.utils.errors import UserError, suggest
from flowers_tl.utils.notes import log_note

# Between the name of a weight and those of its low-rank update, see flowers_tl/models/adapters.py.
LORA = "_lora_"
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Stage:
    """One step of the row: which modules or bare parameters of the network it owns, and how it runs.

    ``members`` are dotted names inside the torchvision network; ``run(network, x)`` maps the stage before's output to
    this stage's.
    """

    name: str
    members: tuple[str, ...]
    run: Callable[[nn.Module, Tensor], Tensor]

    def owns(self, name: str) -> bool:
        """Say whether the parameter, buffer or module ``name`` (dotted, inside the network) belongs to this stage."""
        return any(name == member or name.startswith(member + ".") for member in self.members)


class StagedNetwork(nn.Module):
    """A network with ``num_classes`` outputs and its row of stages; ``forward`` is the library's own.

    Args:
        name: a row of :data:`flowers_tl.config.backbones.ARCHITECTURES`, or ``timm/NAME``.
        num_classes: outputs of the new head.
        image_size: side of its images, in pixels; only a ViT has it in its parameters, one position a patch.
        how: its images are prepared.

    Raises:
        UserError: if the name is unknown (it names the nearest one), or the size is no multiple of a ViT's patches.
    """

    # How a stage runs with gradient checkpointing, see :mod:`flowers_tl.models.recompute`.
    recompute: Callable[["StagedNetwork", Stage, Tensor], Tensor] | None = None
    # Whether forward is the row of stages, since the library's own does not fit the head.
    by_stages = False

    def __init__(
        self,
        name: str,
        num_classes: int,
        image_size: int = 224,
        how: Preprocessing = ARTICLE,
    ) -> None:
        super().__init__()
        if name not in ARCHITECTURES and not is_timm(name):
            raise UserError(f"There is no backbone '{name}': {suggest(name, ARCHITECTURES)}.")
        self.name, self.image_size, self.how, self.norm = name, image_size, how, (how.mean, how.std)
        # How position embeddings of another size were made to fit, where they were.
        self.positions: dict[str, str] = {}
        # Where the head takes the features of all stages, see :func:`run_stages`.
        self.places: dict[str, tuple[int, ...]] = {}
        # Of the library's function for this network.
        self.arguments: dict[str, Any] = {}
        self.stages: tuple[Stage, ...]
        if is_timm(name):
            cut = cut_network(name, image_size)
            self.network, self.arguments = build_network(name, num_classes, image_size, **cut.arguments)
            validate_cut(name, self.network, image_size)
            self.final, self.stages = cut.final, tuple(cut_stages(name, cut))
            # As any new layer begins; some of timm's begin at zero.
            self.network.get_submodule(self.final).reset_parameters()
            return
        family, *starts = ARCHITECTURES[name]
        try:
            self.arguments = {"image_size": image_size} if family == "vit" else {}
            self.network = get_model(name, weights=None, **self.arguments)
        except AssertionError as error:
            raise UserError(
                f"data.image_size={image_size} does not fit {name} (it is no multiple of its patches): use 224, or another backbone."
            ) from error
        self.final = replace_final_layer(self.network, num_classes)
        self.stages = tuple(FAMILIES[family](self.network, *starts))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, 3, height, width), normalised float, to logits (n, num_classes)."""
        return self.run(x) if self.recompute or self.by_stages else self.network(x)

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 (n, 3, height, width) into what the network takes."""
        return normalise(images, *self.norm)

    def run(self, x: Any, start: str | None = None, stop: str | None = None) -> Any:
        """Run the stages from ``start`` (by default the first) up to and without ``stop`` (by default to the end).

        What enters and what comes out are tensors (n, ...), in between with features, see :func:`run_stages`.
        """
        names = self.stage_names
        first = 0 if start is None else names.index(start)
        last = len(names) if stop is None else names.index(stop)
        recompute = self.recompute
        run = partial(recompute, self) if recompute else lambda stage, x: stage.run(self.network, x)
        return run_stages(run, self.stages[first:last], x, self.places)

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def feature_stage_names(self) -> tuple[str, ...]:
        """Names of the stages that an index counts: stem and feature stages, not neck and head."""
        return tuple(name for name in self.stage_names if name not in ("neck", "head"))

    def parameters_of(self, stage: Stage) -> Iterator[nn.Parameter]:
        return (parameter for name, parameter in self.network.named_parameters() if stage.owns(name))

    def parameter_kinds(self) -> dict[str, dict[str, frozenset[str]]]:
        """For each stage its parameters' names, with what kinds each is: ``norm``, ``bias`` or both, else ``weight``.

        An adapter's parameters are ``lora``; the weight that it adds to is of no kind, and so always frozen.
        """
        modules = self.network.named_modules()
        # timm has norm layers of its own.
        norms = {name for name, module in modules if isinstance(module, NORMS) or "Norm" in type(module).__name__}
        kinds = {}
        for name, _ in self.network.named_parameters():
            is_kind = {"norm": name.rpartition(".")[0] in norms, "bias": name.endswith("bias"), "lora": LORA in name}
            kinds[name] = frozenset({kind for kind, holds in is_kind.items() if holds} or {"weight"})
        kinds |= {name.partition(LORA)[0]: frozenset() for name in kinds if LORA in name}
        return {stage.name: {n: kind for n, kind in kinds.items() if stage.owns(n)} for stage in self.stages}

    def modules_of(self, stage: Stage) -> Iterator[nn.Module]:
        return (module for name, module in self.network.named_modules() if stage.owns(name))


def replace_final_layer(network: nn.Module, num_classes: int) -> str:
    """Put a fresh Linear or Conv with ``num_classes`` outputs in the place of the last one; return its dotted name."""
    name, old = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=old.kernel_size)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
    return name


def chain(name: str, *members: str, flatten: bool = False) -> Stage:
    """A stage that runs its member modules one after another, and then flattens where ``flatten`` says so."""

    def run(network: nn.Module, x: Tensor) -> Tensor:
        for member in members:
            x = network.get_submodule(member)(x)
        return torch.flatten(x, 1) if flatten else x

    return Stage(name, members, run)


def cut_stages(name: str, cut: Cut) -> Iterator[Stage]:
    """The stages of a network that was cut; one in which nothing but the head could be told apart has an empty neck."""
    points, members = [*cut.points], [*cut.members]
    if cut.arguments:
        log_note(f"{name} has a second classifier, for distillation: it is left out.")
    if len(points) < 3:
        log_note(f"{name} has no stages that run alone: all before its head is its stem.")
        points, members = [points[-1]] * 2, [tuple(owned for row in members[:-1] for owned in row), (), members[-1]]
    names = ["stem", *(f"stage{k}" for k in range(1, len(points) - 1)), "neck", "head"]
    for stage, owned, start, stop in zip(names, members, [None, *points], [*points, None], strict=True):
        yield Stage(stage, owned, partial(run_between, start, stop))


def resnet_stages(network: nn.Module) -> Iterator[Stage]:
    yield chain("stem", "conv1", "bn1", "relu", "maxpool")
    for number in (1, 2, 3, 4):
        yield chain(f"layer{number}", f"layer{number}")
    yield chain("neck", "avgpool", flatten=True)
    yield chain("head", "fc")


def sequential_stages(network: nn.Module, *starts: int) -> Iterator[Stage]:
    """Stages of a network that is ``features`` and ``classifier``; stage k begins at ``features[starts[k]]``."""
    for k, (start, stop) in enumerate(pairwise((*starts, len(network.features)))):
        yield chain(f"stage{k}" if k else "stem", *(f"features.{i}" for i in range(start, stop)))

    # In the classifier the head begins with the last layer that has weights, or with the dropout just before it.
    layers = list(network.classifier)
    begin = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d))
    begin -= isinstance(layers[begin - 1], nn.Dropout)

    def neck(network: nn.Module, x: Tensor) -> Tensor:
        # SqueezeNet pools behind its final convolution.
        if isinstance(network.classifier[-1], nn.AdaptiveAvgPool2d):
            return x
        x = network.avgpool(x) if hasattr(network, "avgpool") else adaptive_avg_pool2d(x, 1)
        # ConvNeXt flattens behind its norm.
        if not any(isinstance(layer, nn.Flatten) for layer in network.classifier):
            x = torch.flatten(x, 1)
        for layer in network.classifier[:begin]:
            x = layer(x)
        return x

    yield Stage("neck", ("avgpool", *(f"classifier.{i}" for i in range(begin))), neck)
    yield chain("head", *(f"classifier.{i}" for i in range(begin, len(layers))), flatten=True)


def vit_stages(network: nn.Module) -> Iterator[Stage]:
    def embed(network: nn.Module, x: Tensor) -> Tensor:
        x = network._process_input(x)
        x = torch.cat([network.class_token.expand(len(x), -1, -1), x], dim=1)
        return network.encoder.dropout(x + network.encoder.pos_embedding)

    yield Stage("stem", ("conv_proj", "class_token", "encoder.pos_embedding", "encoder.dropout"), embed)
    for k in range(len(network.encoder.layers)):
        yield chain(f"layer{k + 1}", f"encoder.layers.encoder_layer_{k}")
    yield Stage("neck", ("encoder.ln",), lambda network, x: network.encoder.ln(x)[:, 0])
    yield chain("head", "heads")


# What makes a network's stages of it and of the numbers in its row.
FAMILIES: dict[str, Callable[..., Iterator[Stage]]] = {
    "resnet": resnet_stages,
    "sequential": sequential_stages,
    "vit": vit_stages,
}

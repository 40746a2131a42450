"""A network of torchvision or timm as an ordered row of named stages.

Every network becomes ``stem | feature stages | neck | head``. A feature stage is what works at one resolution (in a
ViT: one encoder layer). The neck is what lies between the features and the head: pooling, in some networks
pretrained layers of the classifier, in SqueezeNet nothing. The head is the final Linear or Conv with the dropout before
it; the final layer is replaced by one with the data's number of classes. The library's module stays whole, so its
state dict has the plain names. :mod:`flowers_tl.models.cut` has the rule.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from flowers_tl.data.transforms import ARTICLE, Preprocessing, normalise
from flowers_tl.models.cut import Cut, check_once
from flowers_tl.models.libraries import find_library
from flowers_tl.models.partial_run import Point, run_between
from flowers_tl.models.pooling import run_stages
from flowers_tl.utils.notes import log_note

# Between the name of a weight and those of its low-rank update, see flowers_tl/models/adapters.py.
LORA = "_lora_"
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Stage:
    """One step of the row: which modules or bare parameters of the network it owns, and from where to where it runs.

    ``members`` are dotted names inside the library's network.
    """

    name: str
    members: tuple[str, ...]
    start: Point | None
    stop: Point | None

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """Map the stage before's output to this stage's."""
        return run_between(self.start, self.stop, network, x)

    def owns(self, name: str) -> bool:
        """Say whether the parameter, buffer or module ``name`` (dotted, inside the network) belongs to this stage."""
        return any(name == member or name.startswith(member + ".") for member in self.members)


class StagedNetwork(nn.Module):
    """A network with ``num_classes`` outputs and its row of stages; ``forward`` is the library's own.

    Args:
        name: one of :data:`flowers_tl.config.backbones.NETWORKS`, or ``timm/NAME``.
        num_classes: outputs of the new head.
        image_size: side of its images, in pixels; only a ViT has it in its parameters, one position a patch.
        preprocessing: of its images.

    Raises:
        UserError: if the name is unknown (it names the nearest one), it can't be cut into stages, or takes no images of this size.
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
        preprocessing: Preprocessing = ARTICLE,
    ) -> None:
        super().__init__()
        self.name, self.image_size, self.preprocessing = name, image_size, preprocessing
        self.norm = preprocessing.mean, preprocessing.std
        # How position embeddings of another size were made to fit, where they were.
        self.positions: dict[str, str] = {}
        # Where the head takes the features of all stages, see :func:`run_stages`.
        self.places: dict[str, tuple[int, ...]] = {}
        # The arguments are those of the library's function for this network.
        self.network, self.arguments, cut = find_library(name).build(name, num_classes, image_size)
        check_once(name, self.network, cut)
        self.final, self.stages = cut.final, tuple(cut_stages(name, cut))

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
        stages, recompute = self.stages[first:last], self.recompute
        if stages and not (recompute or self.by_stages):
            return run_between(stages[0].start, stages[-1].stop, self.network, x)
        run = partial(recompute, self) if recompute else lambda stage, x: stage.run(self.network, x)
        return run_stages(run, stages, x, self.places)

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


def cut_stages(name: str, cut: Cut) -> Iterator[Stage]:
    """The stages of a network that was cut; one in which nothing but the head could be told apart has an empty neck."""
    points, members = [*cut.points], [*cut.members]
    if cut.arguments:
        log_note(f"{name} has a second classifier, for distillation: it is left out.")
    if len(points) < 3:
        log_note(f"{name} has no stages that run alone: all before its head is its stem.")
        points, members = [points[-1]] * 2, [tuple(owned for row in members[:-1] for owned in row), (), members[-1]]
    names = ["stem", *(f"{cut.word}{k}" for k in range(1, len(points) - 1)), "neck", "head"]
    for stage, owned, start, stop in zip(names, members, [None, *points], [*points, None], strict=True):
        yield Stage(stage, owned, start, stop)

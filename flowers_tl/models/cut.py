"""Cut any network into stages by one rule: the order in which its modules run, without a row a network.

A stage ends where one tensor holds all that the rest of the network takes from the image. That nothing else passes is shown
by its gradients, and once a process by numbers.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from flowers_tl.models.partial_run import (
    IMAGES,
    Call,
    Point,
    make_points,
    only_tensor,
    record_calls,
    replaced,
    run_between,
)
from flowers_tl.utils.errors import UserError, first_line

# The number of classes of a network that is to be cut: no other size is the same.
CLASSES = 1013
# The networks whose stages were compared with the whole in this process, and for which side.
checked: set[tuple[str, int]] = set()


@dataclass(frozen=True)
class Cut:
    """How a network is cut: where, the names that each part owns, its final layer, and with which arguments it is built.

    A feature stage is called ``word`` and its number.
    """

    points: tuple[Point, ...]
    members: tuple[tuple[str, ...], ...]
    final: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    word: str = "stage"


@contextmanager
def on_meta() -> Iterator[None]:
    """Build networks without numbers, to be cut: nothing is drawn that another would get then."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.inference_mode(False), torch.enable_grad():
        yield


def find_cut(network: nn.Module, side: int, find_ends: Callable | None = None) -> Cut:
    """Cut a network on the device ``meta``, with CLASSES outputs, for images of this side.

    ``find_ends`` says where stem and feature stages end; None takes :func:`find_named_ends`.

    Raises:
        UserError: if it has no final layer that could be replaced, or no single tensor leads into it.
    """
    images = torch.empty(IMAGES, 3, side, side, device="meta")
    calls = record_calls(network.eval().requires_grad_(False), images)
    network.requires_grad_(True)
    layers = [call for call in calls if isinstance(network.get_submodule(call.name), nn.Linear | nn.Conv2d)]
    final = next((call for call in reversed(layers) if CLASSES in shape(call)), None)
    if final is None:
        raise UserError("it has no linear layer that gives the classes")
    # The head begins with the dropout before its layer, if that drops anything.
    before = next((call for call in calls if call.end == final.begin - 1), final)
    module = network.get_submodule(before.name)
    head = before if isinstance(module, nn.Dropout) and module.p else final
    points: list[Point] = []
    ends = (find_ends or find_named_ends)(network, [one for one in calls if one.end < head.begin])
    for call, at_input in [*ends, (head, True)]:
        points += [one for one in make_points(call, calls, at_input, side) if not points or one.time > points[-1].time]
    users, wrong = find_users(network, points, images)
    while wrong:
        points = [point for k, point in enumerate(points) if k not in wrong]
        users, wrong = find_users(network, points, images)
    if not points or points[-1].module != head.name:
        raise UserError("more than one tensor leads to its classes")
    return Cut(tuple(points), find_members(network, points, calls, users), final.name)


def shape(call: Call) -> Sequence[int]:
    tensor = only_tensor(call.given)
    return () if tensor is None else tuple(tensor.shape)


def has_matrix(network: nn.Module, call: Call) -> bool:
    """Whether a module holds weights of a convolution or a linear layer."""
    return any(parameter.ndim > 1 for parameter in network.get_submodule(call.name).parameters())


def find_features(network: nn.Module, calls: Sequence[Call]) -> list[Call]:
    """The calls with which feature stages end: of the modules that timm names, or of the parts of the largest list."""
    info = getattr(network, "feature_info", None) or []
    last = {call.name: call for call in calls}
    names = [str(one["module"]) for one in getattr(info, "info", info)]
    if sum(name in last for name in names) < 2:
        lists = [
            (n, m) for n, m in network.named_modules() if isinstance(m, nn.ModuleList | nn.Sequential) and len(m) > 1
        ]
        sizes = {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in lists}
        names = [name for name in last if name.rpartition(".")[0] == max(sizes, key=lambda one: sizes[one], default="")]
    return sorted((last[name] for name in {*names} & last.keys() if shape(last[name])), key=lambda call: call.end)


def find_named_ends(network: nn.Module, calls: Sequence[Call]) -> list[tuple[Call, bool]]:
    """Where stem and feature stages end: calls before the final layer, and whether at their inputs."""
    features = find_features(network, calls)
    weighted = [call for call in calls if call.leaf and has_matrix(network, call)]
    ends: list[tuple[Call, bool]] = []
    if not features:
        return ends
    first, second = features[0], features[1] if len(features) > 1 else None
    if has_matrix(network, first) and any(call.end < first.begin for call in weighted):
        ends.append((first, True))
    # A pooling behind the stem belongs to it.
    elif second and first.end < second.begin and not any(first.end < call.begin < second.begin for call in weighted):
        ends.append((second, True))
        features = features[1:]

    def places(call: Call) -> Sequence[int]:
        """The sizes without images and channels, whichever axis these are."""
        sizes = shape(call)[1:]
        return [size for size in sizes if sizes.count(size) > 1] or sizes[:-1]

    # A last convolution over places is a part of the last stage, not of the neck.
    tail = [call for call in calls if call.begin > features[-1].end and places(call) == places(features[-1])]
    if any(call in weighted for call in tail):
        features[-1] = max(tail, key=lambda call: call.end)
    for k, call in enumerate(features):
        # A norm layer that acts too is not divided.
        while around := [one for one in calls if one.end == call.end + 1 and shape(one) == shape(call)]:
            features[k] = call = around[0]
    return ends + [(call, False) for call in features]


def find_users(network: nn.Module, points: Sequence[Point], images: Tensor) -> tuple[dict[str, int], set[int]]:
    """By parameter the first stage that uses it, and the points that more than one tensor passes.

    In one forward each stage begins from a tensor without history. A stage with a gradient to what entered an earlier one
    takes something past the points between.
    """
    entering, leaving = [images.detach().requires_grad_()], list[Tensor]()
    counts = {point.module: -1 for point in points}

    def renew(x: Tensor) -> Tensor:
        leaving.append(x)
        entering.append(x.detach().requires_grad_())
        # What follows may write into it.
        return entering[-1] * 1

    def forward(name: str, original: Callable, *args: Any, **more: Any) -> Any:
        counts[name] += 1
        here = {point.at_input for point in points if (point.module, point.number) == (name, counts[name])}
        output = original(*([renew(args[0]), *args[1:]] if True in here else args), **more)
        return tree_map_only(Tensor, renew, output) if False in here else output

    with replaced(network, {*counts}, forward):
        leaving.append(network(entering[0]))
    named, users, wrong = dict(network.named_parameters()), dict[str, int](), set[int]()
    for stage, output in enumerate(leaving):
        tensors = [*entering[:stage], *named.values()]
        # What passes a point is a part of several stages' graphs, which must stay.
        gradients: Sequence[Any] = [None] * len(tensors)
        if output.grad_fn:
            gradients = torch.autograd.grad(output.sum(), tensors, allow_unused=True, retain_graph=True)
        wrong |= {k for start in range(stage) if gradients[start] is not None for k in range(start, stage)}
        for name, gradient in zip(named, gradients[stage:], strict=True):
            if gradient is not None:
                users.setdefault(name, stage)
    return users, wrong


def find_members(
    network: nn.Module, points: Sequence[Point], calls: Sequence[Call], users: Mapping[str, int]
) -> tuple[tuple[str, ...], ...]:
    """The names that each stage owns: modules that run in it alone, and parameters that it is the first to use."""
    times = [*(point.time for point in points), math.inf]
    owners: dict[str, int] = {}
    for call in reversed(calls):
        first, last = (sum(time <= when for time in times) for when in (call.begin, call.end - 1))
        # Of a module that runs in several, only parts have an owner.
        owners[call.name] = first if first == last else -1
    modules = dict(owners)
    owners |= users
    for name, _ in [*network.named_parameters(), *network.named_buffers()]:
        around = [".".join(name.split(".")[:depth]) for depth in range(name.count("."), 0, -1)]
        owners.setdefault(name, next((modules[one] for one in around if modules.get(one, -1) >= 0), 0))
    below: dict[str, set[int]] = {"": {-1}}
    for name, owner in owners.items():
        for depth in range(1, name.count(".") + 2):
            below.setdefault(".".join(name.split(".")[:depth]), set()).add(owner)
    whole = {name for name, stages in below.items() if len(stages) == 1 and -1 not in stages}
    members: list[list[str]] = [[] for _ in times]
    for name in sorted(whole):
        if name.rpartition(".")[0] not in whole:
            members[min(below[name])].append(name)
    return tuple(map(tuple, members))


@torch.no_grad()
def check_cut(network: nn.Module, cut: Cut) -> None:
    """Raise UserError if the stages one after another are not ``forward``, bit for bit, in a copy with other weights.

    Weights that begin as one number, such as zero, would hide what a stage lacks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = copy.deepcopy(network).eval()
        for parameter in network.parameters():
            if parameter.amin() == parameter.amax():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.02, 0.02))
        images = x = torch.randn(2, 3, cut.points[0].side, cut.points[0].side)
        try:
            for start, stop in zip((None, *cut.points), (*cut.points, None), strict=True):
                before, x = x, run_between(start, stop, network, x.clone())
        # Of a module that writes into an empty tensor, for example.
        except (RuntimeError, ValueError, TypeError) as error:
            raise UserError(f"its stages do not run alone ({first_line(error)})") from error
        if not torch.equal(x, network(images)):
            raise UserError("its stages one after another do not compute what the whole network does")
        final = network.get_submodule(cut.final)
        # The head may begin before places that are one are taken away.
        pooled = before.flatten(1) if before.ndim == 4 else before
        # The scores of a convolution have places, which are pooled.
        if isinstance(final, nn.Linear) and not torch.equal(x, final(pooled)):
            raise UserError("it changes the scores of the classes after its final layer")


def check_once(name: str, network: nn.Module, cut: Cut) -> None:
    """Compare the stages with the whole network, once a process. Raises UserError if they differ by a bit."""
    key = name, cut.points[0].side
    if key in checked or any(parameter.is_meta for parameter in network.parameters()):
        return
    try:
        check_cut(network, cut)
    except UserError as error:
        raise UserError(f"{name} can't be cut into stages ({error}): use another backbone.") from error
    checked.add(key)

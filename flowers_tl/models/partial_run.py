"""Run a part of any network, from one place in its ``forward`` to another, as that is written.

To begin at a place, the network's own ``forward`` runs on an empty image: the modules that lie before do not compute, they
return empty tensors of the right shape, and there the stage's input is put in. So what ``forward`` does between the modules
(position embeddings, shapes, rotations) stays as it is, and nothing of a network is written here again.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

# On the device `meta` images cost nothing: a size that this prime divides is a number of images.
IMAGES = 4099
# Kinds of networks that write into what is skipped, which then takes memory; the check of the first one finds that out.
WRITING: set[type[nn.Module]] = set()
# Only one thread at a time changes what modules do.
LOCK = threading.RLock()


@dataclass(frozen=True)
class Call:
    """A module's call in a forward on ``meta``: when it began and ended, counted in such events, and what it took and gave.

    ``depends`` says whether the image has to do with what it gave.
    """

    name: str
    begin: int
    end: int
    taken: Any
    given: Any
    leaf: bool
    depends: bool


@dataclass(frozen=True)
class Point:
    """Where a part ends: at the input or the output of a module's call, at this ``time`` and so many calls of it before.

    ``skipped`` are the calls that have ended by then, the outermost ones; a ``taken`` or ``given`` tensor there has ``rows``
    for each image, and images have this ``side`` in pixels.
    """

    module: str
    number: int
    at_input: bool
    time: int
    skipped: tuple[Call, ...]
    rows: int
    side: int


class Reached(Exception):
    """Ends a forward at a point; ``args[0]`` is the tensor there."""


def only_tensor(value: Any) -> Tensor | None:
    """The one tensor in what a module takes or gives, beside plain values; None if there is none, or several."""
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def record_calls(network: nn.Module, images: Tensor) -> list[Call]:
    """The calls of all modules within a network without gradients of its own, in one forward, in the order of their ends."""
    calls: list[Call] = []
    running: list[list[Any]] = []
    times = iter(range(10**9))

    def begin(module: nn.Module, arguments: tuple) -> None:
        for call in running:
            call[2] = False
        running.append([next(times), arguments[:1], True])

    def end(name: str, module: nn.Module, arguments: tuple, output: Any) -> None:
        begun, taken, leaf = running.pop()
        depends = any(isinstance(value, Tensor) and value.requires_grad for value in tree_leaves(output))
        taken, given = tree_map_only(Tensor, Tensor.detach, (taken, output))
        calls.append(Call(name, begun, next(times), taken, given, leaf, depends))

    handles: list[Any] = []
    for name, module in list(network.named_modules())[1:]:
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(partial(end, name))]
    # Not the images themselves: some networks write into what they are given.
    network(images.detach().requires_grad_() * 1)
    for handle in handles:
        handle.remove()
    return calls


def make_points(call: Call, calls: Sequence[Call], at_input: bool, side: int) -> list[Point]:
    """The point at a call's input or output; none where images are not the rows of one tensor."""
    tensor, time = only_tensor(call.taken if at_input else call.given), call.begin if at_input else call.end
    if tensor is None or not tensor.ndim or tensor.shape[0] % IMAGES:
        return []
    outer: list[Call] = []
    # What a network computes from its weights alone, such as the queries of a pooling, is computed again.
    for one in sorted((one for one in calls if one.end <= time and one.depends), key=lambda one: one.begin):
        if not outer or one.begin > outer[-1].end:
            outer.append(one)
    number = sum(one.name == call.name and one.begin < call.begin for one in calls)
    return [Point(call.name, number, at_input, time, tuple(outer), tensor.shape[0] // IMAGES, side)]


@contextmanager
def replaced(network: nn.Module, names: set[str], forward: Callable[..., Any]) -> Iterator[None]:
    """Let modules compute something else in this thread: ``forward(name, its own forward, *its arguments)``."""
    here, modules = threading.get_ident(), {name: network.get_submodule(name) for name in names}
    with LOCK:
        for name, module in modules.items():

            def replacement(*args: Any, original: Callable = module.forward, name: str = name, **more: Any) -> Any:
                return (
                    forward(name, original, *args, **more) if threading.get_ident() == here else original(*args, **more)
                )

            module.forward = replacement
        try:
            yield
        finally:
            for module in modules.values():
                del module.__dict__["forward"]


# The compiler can't follow it, and nothing of it takes time.
@torch.compiler.disable(recursive=False)
def run_between(start: Point | None, stop: Point | None, network: nn.Module, x: Tensor) -> Tensor:
    """Run the network from one point to another; None is its begin or its end."""
    pending = list(reversed(start.skipped)) if start else []
    counts = {point.module: -1 for point in (start, stop) if point}
    images = x.shape[0] // start.rows if start else 0
    # The first module may write into it.
    x = x.clone() if x.requires_grad and x.is_leaf else x

    def empty(like: Tensor) -> Tensor:
        shape = [size // IMAGES * images if size and size % IMAGES == 0 else size for size in like.shape]
        dtype = x.dtype if like.dtype.is_floating_point else like.dtype
        size = shape if type(network) in WRITING else ()
        return torch.zeros(size, dtype=dtype, device=x.device).expand(shape)

    def forward(name: str, original: Callable, *args: Any, **more: Any) -> Any:
        counts[name] = counts.get(name, -1) + 1
        begins, ends = ((point and (point.module, point.number)) == (name, counts[name]) for point in (start, stop))
        if begins and start and start.at_input:
            args = (x, *args[1:])
        if ends and stop and stop.at_input:
            raise Reached(args[0])
        if pending and pending[-1].name == name:
            fill = (lambda _: x) if begins and start and not start.at_input else empty
            output = tree_map_only(Tensor, fill, pending.pop().given)
        else:
            output = original(*args, **more)
        if ends:
            raise Reached(only_tensor(output))
        return output

    with replaced(network, {*counts, *(call.name for call in pending)}, forward):
        try:
            return network(empty(torch.empty(IMAGES, 3, start.side, start.side, device="meta")) if start else x)
        except Reached as reached:
            return reached.args[0]
        except RuntimeError as error:
            if type(network) in WRITING or "single memory location" not in str(error):
                raise
            WRITING.add(type(network))
    return run_between(start, stop, network, x)

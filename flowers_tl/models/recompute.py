"""Gradient checkpointing by stage (Chen et al., 2016): keep what enters a stage, and compute the rest again in the backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from flowers_tl.models.backbone import Stage, StagedNetwork


def run_recomputed(backbone: StagedNetwork, stage: Stage, x: Tensor) -> Tensor:
    """Map what enters a stage to its output, and again in the backward pass, with the same random numbers and statistics."""
    learns = x.requires_grad or any(parameter.requires_grad for parameter in backbone.parameters_of(stage))
    if not (learns and torch.is_grad_enabled()):
        return stage.run(backbone.network, x)
    modules = [module for module in backbone.modules_of(stage) if module.training and module._buffers]
    # A stage may begin with a dropout that works in place, so a second pass would begin from what the first has left.
    return checkpoint(
        lambda inputs: stage.run(backbone.network, inputs.clone()),
        x,
        use_reentrant=False,
        preserve_rng_state=True,
        context_fn=lambda: (nullcontext(), buffers_kept(modules)),
    )


@contextmanager
def buffers_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let modules change copies of their buffers: a second pass would move BatchNorm's statistics twice."""
    before = [(module, module._buffers) for module in modules]
    for module, buffers in before:
        module._buffers = {name: tensor if tensor is None else tensor.clone() for name, tensor in buffers.items()}
    try:
        yield
    finally:
        for module, buffers in before:
            module._buffers = buffers


def activation_bytes(backbone: StagedNetwork, images: Tensor) -> tuple[int, int]:
    """Bytes that autograd keeps of a forward pass besides parameters: as it is, and at most at a time with recomputation.

    Args:
        backbone: on any device, ``meta`` included, in the mode that counts.
        images: (n, 3, height, width), normalised.
    """
    known = {parameter.untyped_storage()._cdata for parameter in backbone.parameters()}
    kept, entering = [0], 0

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[-1] += 0 if storage._cdata in known else storage.nbytes()
        known.add(storage._cdata)
        return tensor

    x = images
    for stage in backbone.stages:
        size = x.untyped_storage().nbytes()
        with saved_tensors_hooks(count, lambda tensor: tensor):
            x = stage.run(backbone.network, x)
        entering += size if x.requires_grad else 0
        kept.append(0)
    return sum(kept), entering + max(kept)

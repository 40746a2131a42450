"""The frozen prefix: all stages before the first trainable one. It has no memory, so its outputs can be kept.

Where it ends follows from the strategy's table and the epoch. It runs as one function of its own, faster than the network
that it stands for: BatchNorm is folded into the convolutions, and channels lie last in memory. In fp32 both differ from
the network by rounding alone.
"""

import copy
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from flowers_tl.config.backbones import FIRST
from flowers_tl.data.transforms import normalise
from flowers_tl.models.adapters import merge_state, merged
from flowers_tl.models.backbone import Stage, StagedNetwork
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.partial_run import Point, run_between
from flowers_tl.models.pooling import run_stages

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Images at a time: few enough for what passes between layers to stay in a CPU's cache, enough for a GPU to be busy.
BATCH = {"cpu": 4, "cuda": 256}


def find_entry_stage(model: TransferClassifier, epoch: int) -> str | None:
    """Name of the stage at which ``epoch``'s images can enter, since all before it is frozen; None: at the first.

    A prefix ends before the first stage that is trained or draws random numbers in training, before the first BatchNorm whose
    statistics follow the batches (``frozen_batchnorm: train``), and before the head at the latest.
    """
    begun = [group for group in model.groups if group.from_epoch <= epoch]
    trainable_stages = {stage for group in begun for stage in group.stages}
    parameters = {name for group in begun for name in group.parameters}

    def may_change(stage: Stage) -> bool:
        modules = list(model.backbone.modules_of(stage))
        random = stage.name in trainable_stages and any(
            isinstance(module, _DropoutNd) or "Drop" in type(module).__name__ for module in modules
        )
        follows = model.strategy.frozen_batchnorm == "train" and any(isinstance(m, _BatchNorm) for m in modules)
        return stage.name == "head" or random or follows or any(stage.owns(name) for name in parameters)

    first = next(k for k, stage in enumerate(model.backbone.stages) if may_change(stage))
    return model.backbone.stage_names[first] if first else None


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute fp32 in fp32 on a GPU too, where PyTorch rounds what enters a convolution to the 10 bits of TF32."""
    kinds = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def fold_batchnorm(network: nn.Module, stop: Point) -> None:
    """Fold each BatchNorm up to a point into the convolution before it, if nothing else takes what that gives.

    Which convolutions these are is read from autograd's graph of one image: the result is the same to rounding, whatever the
    network's ``forward`` does. Names of modules stay; what a norm layer of timm does behind its norm stays too.

    Args:
        network: on the CPU, in eval mode.
        stop: where the part ends that will run.
    """
    given: dict[Any, nn.Conv2d] = {}
    pairs: list[tuple[Any, str]] = []
    handles: list[Any] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(lambda conv, _, output: given.update({output.grad_fn: conv})))
        elif type(module) is nn.BatchNorm2d or (
            isinstance(module, _BatchNorm) and {*module._modules} == {"drop", "act"}
        ):
            handles.append(module.register_forward_pre_hook(lambda _, x, name=name: pairs.append((x[0].grad_fn, name))))
    network.requires_grad_(True)
    with torch.enable_grad():
        nodes = [run_between(None, stop, network, torch.zeros(1, 3, stop.side, stop.side)).grad_fn]
    takers: Counter[Any] = Counter()
    for node in nodes:
        following = [one for one, _ in node.next_functions if one]
        nodes += [one for one in following if one not in takers]
        takers.update(following)
    for handle in handles:
        handle.remove()
    once = Counter(given.values()), Counter(name for _, name in pairs)
    for node, name in pairs:
        conv, norm = given.get(node), network.get_submodule(name)
        if conv is None or norm.running_mean is None:
            continue
        direct = any(getattr(one, "variable", None) is conv.weight for one, _ in node.next_functions)
        if direct and takers[node] == once[0][conv] == once[1][name] == 1:
            state = conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(*state)
            network.set_submodule(name, nn.Sequential(OrderedDict(norm.named_children())))
    network.requires_grad_(False)


class FrozenPrefix:
    """The stages before ``entry_stage`` as a function of images, made from a copy of the weights as they are now.

    Args:
        backbone: whose stages are copied.
        entry_stage: name of the first stage that is not part of it.
        precision: ``fp32``, or ``bf16``, which computes and returns bfloat16.
        device: where it computes.
    """

    def __init__(self, backbone: StagedNetwork, entry_stage: str, precision: str, device: torch.device) -> None:
        self.entry_stage, self.precision, self.device, self.norm = entry_stage, precision, device, backbone.norm
        stages = backbone.stages[: backbone.stage_names.index(entry_stage)]
        self.stages, self.places = stages, backbone.places
        # There is always a head behind.
        self.stop = cast("Point", stages[-1].stop)
        # A copy that is made in inference mode can't have gradients.
        with torch.inference_mode(False):
            network = copy.deepcopy(merged(backbone.network)).cpu().eval()
            fold_batchnorm(network, self.stop)
        self.network = network.to(device, PRECISIONS[precision], memory_format=torch.channels_last)
        self.fingerprint = fingerprint_stages(backbone, stages)

    # Not inference mode: its tensors can't enter a trainable layer.
    @torch.no_grad()
    @full_fp32()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images (n, 3, height, width) to what enters ``entry_stage``, (n, ...), contiguous, on the device."""
        outputs, size = [], BATCH.get(self.device.type, BATCH["cuda"])
        for part in images.split(size):
            x = normalise(part.to(self.device), *self.norm).to(PRECISIONS[self.precision])
            # Convolutions of one image round otherwise than those of several.
            if self.device.type == "cpu":
                x = torch.cat([x, x[:1].expand(size - len(x), *x.shape[1:])])
            x = x.contiguous(memory_format=torch.channels_last)
            if self.places:
                x = run_stages(lambda stage, x: stage.run(self.network, x), self.stages, x, self.places)
            else:
                x = run_between(None, self.stop, self.network, x)
            outputs.append(x[: len(part)].contiguous())
        return torch.cat(outputs)


def fingerprint_stages(backbone: StagedNetwork, stages: tuple[Stage, ...]) -> str:
    """A hash of the stages' weights and statistics, and of the architecture."""
    # Where the last stage ends: names alone do not say it. Keys of the first networks are older, and must stay.
    ends = [stages[-1].stop.module] if stages[-1].stop and backbone.name not in FIRST else []
    digest = hashlib.sha256(" ".join([f"{backbone.name} {[stage.name for stage in stages]}", *ends]).encode())
    for name, tensor in sorted(merge_state(backbone.network.state_dict()).items()):
        if any(stage.owns(name) for stage in stages) and not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

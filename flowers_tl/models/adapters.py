"""Low-rank adapters: a frozen weight W of a layer acts as W + (alpha / rank) B A, of which A and B are trained (LoRA).

Hu et al. 2022, https://arxiv.org/abs/2106.09685. A layer keeps its own weight under its own name, so weights files and
checkpoints are read as ever; A and B lie beside it. B begins at zero, so the network begins as what it was.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flowers_tl.models.backbone import LORA, StagedNetwork
from flowers_tl.models.strategy import Strategy
from flowers_tl.utils.errors import UserError

KINDS = ("attention", "mlp", "conv")
RANK = 8
# Behind the name of a weight: A (rank, inputs), B (outputs, rank), and alpha / rank.
A, B, SCALE = f"{LORA}a", f"{LORA}b", f"{LORA}scale"


def find_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, str]]:
    """The weights that take an adapter: name of the layer, the layer, name of the weight in it, and its kind.

    Linear layers within an attention, and the bare weight of PyTorch's own, are ``attention``; other linear layers are
    ``mlp``; convolutions are ``conv``, but for those in groups: a depthwise one is smaller than what would be added.
    """
    attentions = [name for name, module in network.named_modules() if "Attention" in type(module).__name__]
    for name, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield name, module, "in_proj_weight", "attention"
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            yield name, module, "weight", "conv"
        elif isinstance(module, nn.Linear):
            inside = any(name.startswith(f"{around}.") for around in attentions)
            yield name, module, "weight", "attention" if inside else "mlp"


def add_adapter(module: nn.Module, name: str, rank: int, scale: float) -> None:
    """Give a layer an adapter for its weight ``name``. Whoever reads that attribute gets the sum.

    It is done by a property, and not by a wrapper's ``forward``: attentions take the weights of their layers without
    calling them. It is not done by torch's parametrisations, which would give the weight another name.
    """
    weight = module.get_parameter(name).flatten(1)
    rank = min(rank, *weight.shape)
    module.register_parameter(name + A, nn.Parameter(weight.new_empty(rank, weight.shape[1])))
    module.register_parameter(name + B, nn.Parameter(weight.new_zeros(weight.shape[0], rank)))
    module.register_buffer(name + SCALE, torch.tensor(scale, device=weight.device))
    nn.init.kaiming_uniform_(getattr(module, name + A), a=math.sqrt(5))
    kind, tensors = type(module), (lambda self: {**self._parameters, **self._buffers})
    adapted = property(lambda self: add_update(tensors(self), name))
    # The same names: PyTorch knows its own layers by them, and norm layers are known by theirs.
    module.__class__ = type(kind.__name__, (kind,), {name: adapted, "__module__": kind.__module__, "plain": kind})


def add_update(tensors: Mapping[str, Any], name: str) -> Tensor:
    """The sum of a weight and its update, of the tensors of a layer or a network by name."""
    update = tensors[name + B] @ tensors[name + A] * tensors[name + SCALE]
    return tensors[name] + update.view_as(tensors[name])


def merge_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which updates are added to their weights, without adapters; any other stays as it is."""
    adapted = {key.removesuffix(A) for key in state if key.endswith(A)}
    plain = {key: tensor for key, tensor in state.items() if not key.endswith((A, B, SCALE))}
    return plain | {name: add_update(state, name) for name in plain.keys() & adapted}


@torch.no_grad()
def merged(network: nn.Module) -> nn.Module:
    """A network that computes the same without adapters: itself where it has none, else a copy."""
    if not any(hasattr(module, "plain") for module in network.modules()):
        return network
    state, network = merge_state(network.state_dict()), copy.deepcopy(network)
    for module in network.modules():
        if kind := getattr(module, "plain", None):
            module.__class__ = kind
            for tensors in (module._parameters, module._buffers):
                for key in [key for key in tensors if key.endswith((A, B, SCALE))]:
                    del tensors[key]
    network.load_state_dict(state)
    return network


def add_adapters(backbone: StagedNetwork, strategy: Strategy) -> None:
    """Give a network's layers the adapters that the rows of a table name; the final layer takes none.

    Raises:
        UserError: if no stage of a row has such layers, one has an adapter already, or the rank is above the size of all.
    """
    for row in (row for row in strategy.table if row.adapter):
        names = strategy.resolve(row.stage, backbone.stage_names, backbone.feature_stage_names)
        owners = [stage for stage in backbone.stages if stage.name in names]
        layers = [one for one in find_layers(backbone.network) if any(stage.owns(one[0]) for stage in owners)]
        kinds = row.layers or (["attention"] if any(kind == "attention" for *_, kind in layers) else KINDS)
        targets = [
            (name, module, weight) for name, module, weight, kind in layers if kind in kinds and name != backbone.final
        ]
        if not targets:
            raise UserError(
                f"Strategy '{strategy.name}' has an adapter for the {' and '.join(kinds)} layers of stage '{row.stage}', but this "
                "network has none there: name other stages or `layers`."
            )
        if twice := [name for name, module, _ in targets if hasattr(module, "plain")]:
            raise UserError(f"Strategy '{strategy.name}' has two adapters for {twice[0]}: remove one of the two rows.")
        size = max(min(module.get_parameter(weight).flatten(1).shape) for _, module, weight in targets)
        if (rank := row.rank or RANK) > size:
            raise UserError(
                f"Strategy '{strategy.name}' has rank={rank} for stage '{row.stage}', above the size of all its layers: use at most "
                f"{size}."
            )
        for _, module, weight in targets:
            add_adapter(module, weight, rank, (row.alpha or rank) / rank)

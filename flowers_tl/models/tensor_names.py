"""Others' names for the tensors of our networks: behind a prefix, or those of timm."""

import re
from collections.abc import Mapping
from itertools import product

from torch import Tensor

from flowers_tl.utils.errors import shorten

# What this project's checkpoints put before a name.
CHECKPOINT_PREFIX = "backbone.network."
# And what wrappers do: DataParallel, torch.compile, Lightning, DINO, MoCo.
PREFIXES = (
    "module.",
    "model.",
    "backbone.",
    "encoder.",
    "_orig_mod.",
    "encoder_q.",
    "base_encoder.",
    CHECKPOINT_PREFIX,
)
MOST_PREFIXES = 3


def pairs(words: str, timm: str = "", ours: str = "") -> dict[str, str]:
    """timm's and torchvision's names, in turn, behind the name of a block in each."""
    names = words.split()
    return {timm + one: ours + other for one, other in zip(names[::2], names[1::2], strict=True)}


def inverted_residuals(rows: tuple[int, ...], place: str, first: str, others: str) -> dict[str, str]:
    """Names in ``rows`` of blocks, at a ``place`` in torchvision by row, number and block; the first has other layers."""
    places = [(row, number) for row, count in enumerate(rows) for number in range(count)]
    names: dict[str, str] = {}
    for block, (row, number) in enumerate(places):
        ours = place.format(row=row + 1, number=number, block=block + 1)
        names |= pairs(others if block else first, f"blocks.{row}.{number}.", f"{ours}.")
    return names


# By module, of the networks that are the same function in both libraries. ResNets have the same names in both; timm's MobileNetV3
# has another eps in its BatchNorms, and it has no SqueezeNet.
TIMM_NAMES = {
    "mobilenet_v2": pairs("conv_stem features.0.0 bn1 features.0.1 classifier classifier.1")
    | pairs("conv_head features.18.0 bn2 features.18.1")
    | inverted_residuals(
        (1, 2, 3, 4, 3, 3, 1),
        "features.{block}.conv",
        "conv_dw 0.0 bn1 0.1 conv_pw 1 bn2 2",
        "conv_pw 0.0 bn1 0.1 conv_dw 1.0 bn2 1.1 conv_pwl 2 bn3 3",
    ),
    "efficientnet_b0": pairs("conv_stem features.0.0 bn1 features.0.1 classifier classifier.1")
    | pairs("conv_head features.8.0 bn2 features.8.1")
    | inverted_residuals(
        (1, 2, 2, 3, 3, 4, 1),
        "features.{row}.{number}.block",
        "conv_dw 0.0 bn1 0.1 se.conv_reduce 1.fc1 se.conv_expand 1.fc2 conv_pw 2.0 bn2 2.1",
        "conv_pw 0.0 bn1 0.1 conv_dw 1.0 bn2 1.1 se.conv_reduce 2.fc1 se.conv_expand 2.fc2 conv_pwl 3.0 bn3 3.1",
    ),
    "convnext_tiny": pairs("stem.0 features.0.0 stem.1 features.0.1 head.norm classifier.0 head.fc classifier.2"),
    "vit_b_16": pairs("cls_token class_token pos_embed encoder.pos_embedding norm encoder.ln head heads.head")
    | pairs("patch_embed.proj conv_proj"),
}
LAYERS = "norm1 ln_1 attn.qkv self_attention.in_proj attn.proj self_attention.out_proj norm2 ln_2 mlp.fc1 mlp.0 mlp.fc2 mlp.3"
for k in range(12):
    TIMM_NAMES["vit_b_16"] |= pairs(LAYERS, f"blocks.{k}.", f"encoder.layers.encoder_layer_{k}.")
LAYERS = "gamma layer_scale conv_dw block.0 norm block.2 mlp.fc1 block.3 mlp.fc2 block.5"
for row, count in enumerate((3, 3, 9, 3)):
    TIMM_NAMES["convnext_tiny"] |= pairs("0 0 1 1", f"stages.{row}.downsample.", f"features.{2 * row}.") if row else {}
    for k in range(count):
        TIMM_NAMES["convnext_tiny"] |= pairs(LAYERS, f"stages.{row}.blocks.{k}.", f"features.{2 * row + 1}.{k}.")


def rename(network: str, key: str) -> str:
    """torchvision's name of a tensor that has timm's name; other names stay."""
    names = TIMM_NAMES.get(network, {})
    module, _, leaf = key.rpartition(".")
    if key in names or module not in names:
        return names.get(key, key)
    # torchvision has the weight of an attention's inputs without a module around it.
    return f"{names[module]}{'_' if names[module].endswith('in_proj') else '.'}{leaf}"


# In torchvision's files, as it called them when these were made.
OLD_NAMES = {
    r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)": r"\1",
    r"mlp\.linear_1\.": "mlp.0.",
    r"mlp\.linear_2\.": "mlp.3.",
}


def rename_old(key: str) -> str:
    """torchvision's present name of a tensor of a DenseNet or a ViT."""
    for old, new in OLD_NAMES.items():
        key = re.sub(old, new, key)
    return key


def fit_names(
    state: Mapping[str, Tensor], network: str, known: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Give the tensors of a file the names of a network, and say what that took.

    Args:
        state: tensors by the file's names.
        network: its name.
        known: its own tensors by name.

    Returns:
        The tensors below the prefix that fits the most of them, and in words what was changed or left.
    """
    prefixes = ("".join(words) for depth in range(MOST_PREFIXES + 1) for words in product(PREFIXES, repeat=depth))
    below = {
        prefix: {key: rename(network, key.removeprefix(prefix)) for key in state if key.startswith(prefix)}
        for prefix in prefixes
    }
    # The first, and so the shortest, of those that fit equally.
    prefix = max(below, key=lambda one: len(known.keys() & set(below[one].values())))
    names, changes = below[prefix], []
    if prefix and prefix != CHECKPOINT_PREFIX:
        changes.append(f"without the prefix {prefix}")
        if left := sorted(state.keys() - names.keys()):
            changes.append(f"without {shorten(left)}")
    if any(key.removeprefix(prefix) != name for key, name in names.items()):
        changes.append("renamed from timm's names")
    if half := {str(state[key].dtype).removeprefix("torch.") for key in names} & {"float16", "bfloat16"}:
        changes.append(f"converted from {' and '.join(sorted(half))}")
    fitted = {name: state[key] for key, name in names.items()}
    # timm's has one axis.
    scales = {name for name in fitted.keys() & known.keys() if name.endswith("layer_scale")}
    fitted |= {name: fitted[name].reshape(-1, 1, 1) for name in scales}
    return fitted, changes

"""What a network that knows ImageNet's 1,000 classes sees in flowers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.models import ResNet18_Weights

from flowers_tl.config.compose import compose_config
from flowers_tl.data.transforms import normalise
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.pretrained import read_weights
from flowers_tl.training.factory import set_up_data

CATEGORIES = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
MOST = 15


@torch.no_grad()
def see_flowers(weights: str, overrides: Sequence[str]) -> dict[str, Any] | None:
    """What ResNet18 with all its weights, its head of 1,000 classes too, sees in the validation images, on the CPU.

    Args:
        weights: a name or a file, as ``backbone.weights`` takes it.
        overrides: from which the data follow.

    Returns:
        Shares of the images: ``top1`` and ``top5`` by ImageNet class, the most frequent first, and those of ``daisy``;
        ``by_class``: for each class of flowers the ImageNet class that comes first most often, in how many of its
        ``images``, and its mean probability there. None where the weights have no head of 1,000 classes.
    """
    backbone = StagedNetwork("resnet18", len(CATEGORIES))
    state = read_weights(backbone, weights)
    # A file may lack the head.
    if len(state.get("fc.bias", ())) != len(CATEGORIES):
        return None
    backbone.network.load_state_dict(state)
    data = set_up_data(compose_config(["experiment=article", "hydra.mode=RUN", *overrides]))
    batches = [(backbone.eval()(normalise(images)).softmax(dim=1), labels) for images, labels in data.in_order("val")]
    shares, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    found = shares.topk(5).indices
    result = {"images": len(labels), "daisy": {}, "by_class": []}
    for name, k in (("top1", 1), ("top5", 5)):
        counts = Counter(CATEGORIES[place] for place in found[:, :k].flatten().tolist())
        result[name] = {category: round(count / len(labels), 4) for category, count in counts.most_common(MOST)}
        result["daisy"][name] = round(counts["daisy"] / len(labels), 4)
    for label, flower in enumerate(data.class_names):
        members = labels == label
        (place, count), *_ = Counter(found[members, 0].tolist()).most_common(1) or [(0, 0)]
        chosen = shares[members & (found[:, 0] == place), place]
        row = {"class": flower, "seen_as": CATEGORIES[place], "count": count, "images": int(members.sum())}
        result["by_class"].append(row | {"probability": round(float(chosen.mean()), 3) if count else None})
    result["by_class"].sort(key=lambda row: (-row["count"], -(row["probability"] or 0)))
    return result

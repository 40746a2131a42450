"""How much a run computes, counted by PyTorch without computing it."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowers_tl.training.factory import make_model


def count_flops(config: dict[str, Any], num_classes: int, epochs: int, images: int) -> dict[str, int]:
    """FLOPs of convolutions and matrix products, a multiplication and an addition counted as two.

    Returns:
        ``forward``, of one image; ``training``, forward and backward, of all ``epochs`` of so many ``images``, as a loop
        without cache computes them. A head that is solved takes each image and its mirror image forward once,
        nearest neighbours take the image alone; to compare images with one another is not counted.
    """
    with torch.device("meta"):
        model = make_model(config, num_classes).eval()
        # Of a single image BatchNorm can't take the statistics.
        batch = torch.empty(2, 3, config["data"]["image_size"], config["data"]["image_size"])

    def count() -> int:
        with FlopCounterMode(display=False) as counter:
            logits = model(batch)
            if model.training and logits.requires_grad:
                logits.sum().backward()
        return counter.get_total_flops() // 2

    forward = count()
    model.train()
    by_stages: dict[frozenset[str], int] = {}
    total = {"solved": 2, "neighbours": 1}.get(model.strategy.head, 0) * forward
    for epoch in range(epochs):
        model.enter_epoch(epoch)
        stages = frozenset(model.trainable_stages)
        if stages not in by_stages:
            by_stages[stages] = count()
        total += by_stages[stages]
    return {"forward": forward, "training": total * images}

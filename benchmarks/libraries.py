"""Compare how fast the same network of timm and of torchvision computes kept features: ``python -m benchmarks.libraries``.

Both frozen prefixes run in turn in one process on the same images, so that other work on the machine hits both alike.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from flowers_tl.cli.options import command
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_prefix import FrozenPrefix

PAIRS = {"resnet18": "timm/resnet18", "mobilenet_v2": "timm/mobilenetv2_100"}


@dataclass(kw_only=True)
class LibrariesOptions:
    """Print timm's time for features of the same images as a share of torchvision's: median and quartiles."""

    rounds: int = 30
    """How often each network computes them."""
    images: int = 8
    """Images at a time."""
    size: int = 224
    """Side of an image in pixels."""


@command
def main(options: LibrariesOptions) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randint(0, 256, (options.images, 3, options.size, options.size), dtype=torch.uint8)
    for names in PAIRS.items():
        prefixes = [FrozenPrefix(StagedNetwork(name, 10, options.size), "head", "fp32", device) for name in names]
        ratios = []
        for number in range(options.rounds + 2):
            seconds = [0.0, 0.0]
            # The first of a pair is the second of the next.
            for k in (number % 2, 1 - number % 2):
                begun = time.perf_counter()
                prefixes[k](images).sum().item()
                seconds[k] = time.perf_counter() - begun
            ratios.append(seconds[1] / seconds[0])
        low, middle, high = statistics.quantiles(ratios[2:], n=4)
        print(f"{names[1]} / {names[0]}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {options.rounds} pairs)")


if __name__ == "__main__":
    main()

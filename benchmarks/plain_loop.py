"""What the benchmark measures against: the article's notebook as a script, in plain PyTorch and torchvision.

Every image is decoded and pushed through the whole network in every epoch, by a DataLoader with ``data.num_workers``
workers, two by default. Batches, transforms, rates, epochs and modes are those of flowers_tl; frozen stages ask for no
gradients and stay in eval mode, as in a notebook by someone who knows. Takes the same ``key=value`` as
``flowers_tl.train`` and obeys strategy, data, backbone, seed, trainer.max_epochs and trainer.precision=bf16-mixed; prints
one line of JSON.
"""

import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from flowers_tl.config.compose import compose_config
from flowers_tl.data.image_io import read_image
from flowers_tl.data.registry import make_data
from flowers_tl.data.splits import ImageSplit
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.pretrained import load_weights
from flowers_tl.utils.files import dumps

# The article's two strategies: rates of the head, and of the last stage before it.
RATES = {"feature_extraction": {"head": 1e-3}, "fine_tuning": {"last": 1e-4, "head": 1e-3}}
WORKERS = 2


def main(overrides: list[str]) -> None:
    """Train and test as the overrides say; print strategy, val and test accuracy, images seen, seconds by phase."""
    began = time.perf_counter()
    config = compose_config(overrides)
    strategy, device = config["strategy"]["name"], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config["seed"])
    loaders, classes = make_loaders(config)

    backbone = StagedNetwork(config["backbone"]["name"], classes)
    load_weights(backbone, config["backbone"]["weights"])
    network = backbone.network.to(device).requires_grad_(False).eval()
    stages = {"head": backbone.stages[-1]} | {
        "last": next(s for s in backbone.stages if s.name == backbone.feature_stage_names[-1])
    }
    groups, learning = [], []
    for name, rate in RATES[strategy].items():
        groups.append({"params": [p.requires_grad_(True) for p in backbone.parameters_of(stages[name])], "lr": rate})
        learning += backbone.modules_of(stages[name])
    optimizer = torch.optim.Adam(groups)
    cast = torch.autocast(device.type, torch.bfloat16, enabled=config["trainer"]["precision"] == "bf16-mixed")

    ends = [time.perf_counter()]
    for _ in range(config["trainer"]["max_epochs"]):
        for module in learning:
            module.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            with cast:
                loss = cross_entropy(network(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        with cast:
            val = accuracy(network, loaders["val"], device)
        ends.append(time.perf_counter())
    with cast:
        result = {"strategy": strategy, "val": val, "test": accuracy(network, loaders["test"], device)}
    end = time.perf_counter()
    sizes = {split: len(loader.dataset) for split, loader in loaders.items()}
    result["pictures"] = config["trainer"]["max_epochs"] * (sizes["train"] + sizes["val"]) + sizes["test"]
    result["epochs"] = [after - before for before, after in pairwise(ends)]
    print(dumps(result | {"seconds": {"fit": ends[-1] - ends[0], "test": end - ends[-1], "total": end - began}}))


class ImageFiles(Dataset):
    """A split's images under a transform, one at a time, with their labels."""

    def __init__(self, split: ImageSplit, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(read_image(self.split.files[index])), self.split.labels[index]


def make_loaders(config: dict) -> tuple[dict[str, DataLoader], int]:
    """Loaders by split, and the number of classes."""
    data = make_data(config)  # of which only the images' files and labels are used
    data.prepare_data()
    data.setup()
    size = data.image_size
    normalise = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    resize, flip = transforms.Resize(round(size * 256 / 224)), transforms.RandomHorizontalFlip()
    train = transforms.Compose([resize, transforms.RandomCrop(size), flip, *normalise])
    plain = transforms.Compose([resize, transforms.CenterCrop(size), *normalise])
    loaders = {}
    for split, images in data.images.items():
        loaders[split] = DataLoader(
            ImageFiles(images, train if split == "train" else plain),
            config["data"]["batch_size"],
            shuffle=split == "train",
            num_workers=WORKERS if config["data"]["num_workers"] is None else config["data"]["num_workers"],
            pin_memory=torch.cuda.is_available(),
        )
    return loaders, data.num_classes


@torch.no_grad()
def accuracy(network: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Share of right answers, in eval mode."""
    network.eval()
    right = [(network(x.to(device)).argmax(dim=1) == y.to(device)).float() for x, y in loader]
    return torch.cat(right).mean().item()


if __name__ == "__main__":
    main(sys.argv[1:])

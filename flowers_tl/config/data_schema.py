"""The keys of ``data``, typed: a part of :mod:`flowers_tl.config.schema`."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class DataConfig:
    name: str = MISSING
    """Which data."""
    root: str | None = None
    """Folder of the images; by default `data`, of flowers FLOWERS102_ROOT before that."""
    num_classes: int | None = None
    """Outputs of the head; by default as many as the data has."""
    image_size: int = 224
    """Side of the crop in pixels; images are resized to 256/224 of it before."""
    batch_size: int = 32
    """Images a step, counted over all devices."""
    num_workers: int | None = None
    """Processes that prepare images; null: one a core, 8 at most, or none where that is slower."""
    augmentation: str = "crop"
    """Of training images: `crop` (the article's), `random_resized_crop` or `trivial_augment`; each also flips."""
    limit: int | None = None
    """Most images of each split, spread evenly over it; null: all."""
    protocol: str = "official"
    """`official` splits, or `trainval`: train and val together to train on, and no val to choose by."""
    per_class: int | None = None
    """Most training images of each class, drawn by the seed; null: all."""
    balance: str = "none"
    """Give every class the same part in the training loss (`weights`) or in each epoch (`sampler`), or leave it (`none`)."""
    value_range: list[float] | None = None
    """Numbers that are black and white in TIFFs of signed, 32-bit or float numbers; null: what the file says, or 0 and 1."""


@dataclass
class SyntheticConfig(DataConfig):
    train_per_class: int = 10
    """Training images of each species; likewise the next two."""
    val_per_class: int = 10
    test_per_class: int = 20
    first_species: int = 0
    """Number of the first drawn species: ranges that do not meet are different flowers."""


@dataclass
class WithoutValConfig(DataConfig):
    """Sets that have a test split and no val split."""

    val_fraction: float = 0.15
    """Share of each class's images that is cut out of train for val, where there is no val."""
    split_seed: int = 0
    """Another one cuts out other images."""


@dataclass
class WithoutSplitsConfig(WithoutValConfig):
    """Sets that may have no splits at all."""

    test_fraction: float = 0.15
    """Share of each class's images that is cut out of train for test, where there is no test."""


@dataclass
class FolderConfig(WithoutSplitsConfig):
    strict: bool = False
    """true: an image that can't be read is an error; false: it is left out, and a note names it."""


@dataclass
class DTDConfig(DataConfig):
    partition: int = 1
    """Which of the ten official partitions into thirds, 1 to 10."""


store = ConfigStore.instance()
store.store(name="data_schema", node=DataConfig)
store.store(name="synthetic_schema", node=SyntheticConfig)
store.store(name="without_val_schema", node=WithoutValConfig)
store.store(name="without_splits_schema", node=WithoutSplitsConfig)
store.store(name="folder_schema", node=FolderConfig)
store.store(name="dtd_schema", node=DTDConfig)

# torchvision's data sets are choices without a file in conf/data: their rows are all that they need.
for name, row in yaml.safe_load((Path(__file__).parents[1] / "data" / "torchvision_sets.yaml").read_text()).items():
    store.store(group="data", name=name, node={"defaults": [f"/{row['schema']}@_here_", "_self_"], "name": name})

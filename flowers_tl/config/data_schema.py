"""The keys of ``data``, typed: a part of :mod:`flowers_tl.config.schema`."""

from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class DataConfig:
    name: str = MISSING
    """Name of the data set."""
    root: str | None = None
    """Folder of the images. Default: `data` (for flowers: FLOWERS102_ROOT, if set). data=folder needs this key."""
    num_classes: int | None = None
    """Number of outputs of the head; null: the number of classes of the data set."""
    image_size: int | None = None
    """Side in pixels of the images that the network takes; null: that of its weights, mostly 224."""
    batch_size: int = 32
    """Images per step, of all devices together."""
    num_workers: int | None = None
    """Processes that prepare images; null: one per core (maximum 8), or none if that is faster."""
    augmentation: str = "crop"
    """How training images are changed at random: `crop` (as in the article), `random_resized_crop`, `trivial_augment` or `none`; all
    but `none` also flip."""
    fit: str = "crop"
    """How an image becomes square: `crop` cuts out the centre, `pad` adds borders, `squash` changes its shape. The last two show
    all of it in training too."""
    flip: str = "horizontal"
    """Mirror images of training images: `horizontal`, `both` (upside down too), or `none`, as for digits and signs. A solved head
    is fitted to them too."""
    limit: int | None = None
    """Use at most this many images of each split, evenly spaced; null: all."""
    protocol: str = "official"
    """`official`: train on train, use val to select settings and checkpoints. `trainval`: train on train and val together,
    without validation."""
    per_class: int | None = None
    """Maximum number of training images per class, chosen at random by `seed`; null: all."""
    balance: str = "none"
    """`weights`: classes count equally in the training loss; `sampler`: classes are used equally often; `none`: neither."""
    exclude: str | None = None
    """An `audit.csv`: without the images that are copies of others in a later split, have two labels, or are confirmed there."""
    value_range: list[float] | None = None
    """The pixel values of black and white in signed, 32-bit or float TIFFs; null: those of the file, or 0 and 1 for float from 0
    to 1."""


@dataclass
class SyntheticConfig(DataConfig):
    train_per_class: int = 10
    """Training images per class."""
    val_per_class: int = 10
    """Validation images per class."""
    test_per_class: int = 20
    """Test images per class."""
    first_species: int = 0
    """Number of the first class. The classes N to N + num_classes - 1 are drawn; other numbers are other flowers."""


@dataclass
class WithoutValConfig(DataConfig):
    """Sets that have a test split and no val split."""

    val_fraction: float = 0.15
    """Share of the images of each class that val gets from train, if the data set has no val split."""
    split_seed: int = 0
    """Seed of the split."""


@dataclass
class WithoutSplitsConfig(WithoutValConfig):
    """Sets that may have no splits at all."""

    test_fraction: float = 0.15
    """Share of the images of each class that test gets from train, if the data set has no test split."""
    groups: str | None = None
    """Images that no split separates: a pattern over paths such as '(plant[0-9]+)_', a column of a manifest, an audit.csv, or `auto`:
    the newest audit; null: none. A manifest's column `group` needs no key."""
    folds: int | None = None
    """Cross-validation: deal out all images to this many folds, of which data.fold is test; null: none."""
    fold: int = 0
    """Which of data.folds is the test split, from 0."""


@dataclass
class FolderConfig(WithoutSplitsConfig):
    strict: bool = False
    """true: an unreadable image is an error; false: it is left out, and a note names it."""


@dataclass
class ManifestConfig(FolderConfig):
    file: str | None = None
    """Table with a line for each image: .csv, .tsv, .jsonl or .parquet. Its paths start from data.root; null: from its own folder."""
    path_column: str = "path"
    """Name of the column of paths."""
    label_column: str = "label"
    """Name of the column of classes."""
    split_column: str | None = "split"
    """Name of the column of splits; without it, or with null, val and test are taken from all images."""
    groups: str | None = "group"
    """As for `data=folder`; the column `group`, if there is one, is the default."""


@dataclass
class DTDConfig(DataConfig):
    partition: int = 1
    """Which of the ten official splits, 1 to 10."""


DATA_SCHEMAS = (
    DataConfig,
    SyntheticConfig,
    WithoutValConfig,
    WithoutSplitsConfig,
    FolderConfig,
    ManifestConfig,
    DTDConfig,
)


def schema_fields(
    schema: Any, data: Sequence[type] = (DataConfig,), prefix: str = ""
) -> Iterator[tuple[str, Field, type]]:
    """Every key below a schema: its dotted name, its field, and the dataclass that has the field.

    Args:
        schema: a dataclass whose fields may be dataclasses, or lists of them.
        data: what the key ``data`` may be; a key that several of these have comes once, as in the first of them.
        prefix: of the names.
    """
    hints = get_type_hints(schema)
    for one in fields(schema):
        key, kind = prefix + one.name, hints[one.name]
        inner = next((part for part in (kind, *get_args(kind)) if is_dataclass(part)), None)
        if key == "data":
            rows: dict[str, tuple[str, Field, type]] = {}
            for row in (row for part in data for row in schema_fields(part, prefix="data.")):
                rows.setdefault(row[0], row)
            yield from rows.values()
        elif inner:
            yield from schema_fields(inner, data, f"{key}{'.0' if get_args(kind) else ''}.")
        else:
            yield key, one, schema


store = ConfigStore.instance()
store.store(name="data_schema", node=DataConfig)
store.store(name="synthetic_schema", node=SyntheticConfig)
store.store(name="without_val_schema", node=WithoutValConfig)
store.store(name="without_splits_schema", node=WithoutSplitsConfig)
store.store(name="folder_schema", node=FolderConfig)
store.store(name="manifest_schema", node=ManifestConfig)
store.store(name="dtd_schema", node=DTDConfig)

# torchvision's data sets are choices without a file in conf/data: their rows are all that they need.
for name, row in yaml.safe_load((Path(__file__).parents[1] / "data" / "torchvision_sets.yaml").read_bytes()).items():
    store.store(group="data", name=name, node={"defaults": [f"/{row['schema']}@_here_", "_self_"], "name": name})

"""What a user may choose, typed: a misspelt key or a value of the wrong kind is refused before anything runs.

The files in ``conf/`` hold the choices; this schema holds their types, defaults and meanings. Nothing heavy is imported
here, so that ``--help`` is quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

# In a checkout conf/ lies beside the package, in a wheel inside it.
CONF = next(path for path in (Path(__file__).parents[1] / "conf", Path(__file__).parent / "conf") if path.is_dir())


@dataclass
class RowConfig:
    stage: Any = MISSING
    """A stage's name (`head`), an index over stem and feature stages (-1: the last), a slice ("2:"), or `all`."""
    lr: float = MISSING
    """Learning rate of the parameters there."""


@dataclass
class StrategyConfig:
    name: str = MISSING
    """What the strategy is called in records and comparisons."""
    table: list[RowConfig] = MISSING
    """The stages that learn; all others are frozen."""
    weights: str = "pretrained"
    """`pretrained` begins from backbone.weights; `random` wins over it."""
    frozen_batchnorm: str = "eval"
    """`eval` keeps frozen BatchNorm statistics; `train` lets them follow the batches, as a plain notebook does."""


@dataclass
class BackboneConfig:
    name: str = MISSING
    """Architecture."""
    weights: str | None = "IMAGENET1K_V1"
    """A torchvision weights name, a file (also looked for in the folder FLOWERS_TL_WEIGHTS), or null: random."""


@dataclass
class DataConfig:
    name: str = MISSING
    """Which data."""
    root: str | None = None
    """Folder of the pictures; by default FLOWERS102_ROOT, else `data`."""
    num_classes: int | None = None
    """Outputs of the head; by default as many as the data has."""
    image_size: int = 224
    """Side of the crop in pixels; pictures are resized to 256/224 of it before."""
    batch_size: int = 32
    """Pictures a step, counted over all devices."""
    num_workers: int | None = None
    """Processes that decode pictures; null: one a core, 8 at most."""


@dataclass
class SyntheticConfig(DataConfig):
    train_per_class: int = 10
    """Training pictures of each species; likewise the next two."""
    val_per_class: int = 10
    test_per_class: int = 20
    first_species: int = 0
    """Number of the first drawn species: ranges that do not meet are different flowers."""


@dataclass
class TrainerConfig:
    """Arguments of lightning.Trainer by their own names; null leaves Lightning's default."""

    max_epochs: int = 15
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: Any = "auto"
    """How devices share the work (ddp, ...); not the transfer strategy."""
    precision: Any = None
    deterministic: Any = True
    fast_dev_run: Any = False
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: Any = None
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    overfit_batches: Any = 0.0
    val_check_interval: Any = None
    check_val_every_n_epoch: int = 1
    num_sanity_val_steps: int = 0
    log_every_n_steps: int = 1
    enable_progress_bar: bool = True
    enable_model_summary: bool = False
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    profiler: str | None = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    plugins: Any = None


@dataclass
class TrainConfig:
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    """Which stages learn, and how fast."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Which network, from which weights."""
    data: Any = MISSING
    """Which pictures."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Epochs, devices, precision: arguments of lightning.Trainer."""
    seed: int = 0
    """From which all randomness follows."""
    test_best: bool = False
    """Also test the checkpoint with the best val accuracy, beside the final weights."""

"""What a user may choose, typed: a misspelt key or a value of the wrong type is an error before anything runs.

The files in ``conf/`` hold the choices; this schema holds their types, defaults and meanings. Nothing heavy is imported
here, so that ``--help`` is quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

import flowers_tl.config.data_schema  # noqa: F401  (registers the schemas of the data)
from flowers_tl.config.backbones import ARCHITECTURES
from flowers_tl.utils.errors import UserError


def find_conf(package: Path) -> Path:
    """The folder ``conf`` of the package in this folder: a wheel has it inside, a checkout beside the package.

    Beside an installed package a folder of that name is somebody else's.
    """
    inside, project = package / "conf", package.parent / "pyproject.toml"
    if inside.is_dir():
        return inside
    if project.is_file() and 'name = "flowers_tl"' in project.read_text(encoding="utf-8"):
        return package.parent / "conf"
    raise UserError(f"{package} lacks its folder conf: install flowers_tl again.")


CONF = find_conf(Path(__file__).parents[1])


@dataclass
class RowConfig:
    stage: Any = MISSING
    """A stage's name (`head`), an index over stem and feature stages (-1: the last), a slice ("2:", ":head"), or `all`."""
    lr: Any = MISSING
    """Learning rate of the parameters there, or a factor of the row above (`x0.5`), applied again from stage to stage."""
    from_epoch: int = 0
    """Epoch, counted from 0, from which on they are trained."""
    every: int | None = None
    """The row's stages begin one after the other, this many epochs apart; null: all at once."""
    weight_decay: float | None = None
    """Decay of these weights; null: optimizer.weight_decay."""
    only: list[str] | None = None
    """Kinds of parameters that are trained: `norm`, `bias`, `weight` (the rest); null: all."""


@dataclass
class StrategyConfig:
    name: str = MISSING
    """What the strategy is called in records and comparisons."""
    table: list[RowConfig] = MISSING
    """The trainable stages; all others are frozen."""
    weights: str = "pretrained"
    """`pretrained` begins from backbone.weights; `random` wins over it."""
    head: str = "random"
    """`random` begins from a fresh head; `solved` from the best one on the features as they are, found by L-BFGS."""
    frozen_batchnorm: str = "eval"
    """`eval` keeps frozen BatchNorm statistics; `train` lets them follow the batches, as a plain notebook does."""


@dataclass
class OptimizerConfig:
    name: str = MISSING
    """adam, adamw or sgd. The rates are the strategy's."""
    weight_decay: float = 0.0
    """Weight decay of the parameters whose row of the strategy names none."""
    betas: list[float] | None = None
    """Of adam and adamw; null: PyTorch's, 0.9 and 0.999."""
    momentum: float | None = None
    """Of sgd; null: none."""
    nesterov: bool | None = None
    """Of sgd: Nesterov's momentum."""
    fused: bool | None = None
    """Take the step in one fused operation: faster, other rounding; null: PyTorch's choice."""


@dataclass
class SchedulerConfig:
    name: str = MISSING
    """constant, cosine or onecycle: how the learning rates change from step to step."""
    warmup_epochs: float | None = None
    """Of cosine: epochs over which the rates rise from nearly nothing."""
    final: float | None = None
    """Of cosine: share of the rates that is left at the end."""
    pct_start: float | None = None
    """Of onecycle: share of the run over which the rates rise."""


@dataclass
class RegularisationConfig:
    """All act while training; val and test loss stay plain cross-entropy with plain labels."""

    name: str = MISSING
    """What this choice is called."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    mixup: float | None = None
    """Blend pairs of images: alpha of the Beta distribution of the shares; null: off."""
    cutmix: float | None = None
    """Paste a part of one image into another: alpha likewise. With mixup each batch takes one of both."""
    ema: float | None = None
    """Validate, test and keep an exponential moving average of the weights with this decay by step; null: off."""
    early_stopping: int | None = None
    """Stop after this many epochs without a better val accuracy; null: never."""


@dataclass
class BackboneConfig:
    name: str = MISSING
    """Architecture."""
    weights: str | None = "IMAGENET1K_V1"
    """A torchvision weights name, a file (also looked for in the folder FLOWERS_TL_WEIGHTS), or null: random."""


@dataclass
class CacheConfig:
    """What is computed once and kept on disk: decoded images, and what the frozen stages make of them."""

    enabled: bool = True
    """false decodes every image in every epoch and keeps nothing."""
    dir: str | None = None
    """Folder; null: flowers_tl in the user's cache folder. `python -m flowers_tl.cache` lists and clears it."""
    max_gb: float = 20.0
    """Bound in gigabytes: what was unused for the longest time is removed."""
    views: int | None = 4
    """Crops and flips of each training image that frozen stages see, taken in turn; null: fresh ones each epoch."""
    view_seed: int | None = None
    """Seed of these crops and flips; null: the run's. One number for many seeds shares the work between them."""
    precision: str = "fp32"
    """Precision of the frozen stages before the first trainable one: `fp32`, or `bf16`, faster where the machine has it."""


@dataclass
class HeadsConfig:
    """Many heads in one run, where only the head is trained: each combination of these is one, recorded as a run."""

    lr: list[float] | None = None
    """Learning rates of the head; null: the strategy's."""
    weight_decay: list[float] | None = None
    """Weight decays of the head; null: the strategy's. Where the head is solved: those for which it is."""
    seeds: int = 1
    """Number of seeds, counted up from `seed`; they share the crops and flips of cache.view_seed, else of the first."""


@dataclass
class ComputeConfig:
    channels_last: bool = True
    """Order of memory in which convolutions are faster; results differ by rounding."""
    compile: bool = False
    """Compile the trainable stages with torch.compile: faster, after minutes of compiling; results differ by rounding."""


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
    """Which stages are trained, how fast, and from when on."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Which network, from which weights."""
    data: Any = MISSING
    """Which images."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Which optimizer takes the steps."""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """How the learning rates change over the run."""
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    """What reduces overfitting to the few images."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """What is kept from being computed twice."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Many heads at once."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """How fast it goes."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Epochs, devices, precision: arguments of lightning.Trainer."""
    seed: int = 0
    """From which all randomness follows."""
    runs: str = "${oc.env:FLOWERS_TL_RUNS,outputs}"
    """Folder of all runs, by default the one that FLOWERS_TL_RUNS names, else outputs. A run that is finished there is not
    run again, and one that was interrupted goes on."""
    force: bool = False
    """Run anew what is finished, or was interrupted."""
    test_best: bool = False
    """Also test the checkpoint with the best val accuracy, beside the final weights."""
    ckpt_path: str | None = None
    """Go on where a run stopped: `last` with hydra.run.dir=ITS_FOLDER, or a checkpoint's path for a new folder."""
    proof: bool = True
    """Check while training that frozen tensors keep every bit and that the table is what happens."""
    print_strategy: bool = False
    """Only show which stages would be trained: no images, no weights, no training, no folder."""


store = ConfigStore.instance()
store.store(name="schema", node=TrainConfig)
for name in ARCHITECTURES:
    store.store(group="backbone", name=name, node={"name": name})

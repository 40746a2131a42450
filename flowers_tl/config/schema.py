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
from flowers_tl.config.backbones import NETWORKS
from flowers_tl.config.strategy_schema import StrategyConfig
from flowers_tl.utils.files import find_conf

CONF = find_conf(Path(__file__).parents[1])


@dataclass
class OptimizerConfig:
    name: str = MISSING
    """adam, adamw or sgd. The strategy sets the learning rates."""
    weight_decay: float = 0.0
    """Weight decay, unless the row of the strategy sets its own."""
    betas: list[float] | None = None
    """For adam and adamw; null: 0.9 and 0.999."""
    momentum: float | None = None
    """For sgd; null: none."""
    nesterov: bool | None = None
    """For sgd: use Nesterov momentum."""
    fused: bool | None = None
    """Use PyTorch's fused optimizer: faster, results differ by rounding; null: PyTorch decides."""


@dataclass
class SchedulerConfig:
    name: str = MISSING
    """constant, cosine or onecycle: how the learning rates change during the run."""
    warmup_epochs: float | None = None
    """For cosine: number of epochs in which the rates rise from nearly 0."""
    final: float | None = None
    """For cosine: last rate as a fraction of the strategy's rate (0: it falls to zero)."""
    pct_start: float | None = None
    """For onecycle: fraction of the run in which the rates rise."""


@dataclass
class RegularisationConfig:
    """All act while training; val and test loss stay plain cross-entropy with plain labels."""

    name: str = MISSING
    """Name of this choice."""
    label_smoothing: float = 0.0
    """0.1 means: 10 % of each target is divided equally among all classes."""
    mixup: float | None = None
    """Blend pairs of images. The value is alpha: the mixing ratio is a random number from Beta(alpha, alpha); null: off."""
    cutmix: float | None = None
    """Paste a part of one image into another; alpha as above. If mixup is set too, each batch uses one of the two at random."""
    ema: float | None = None
    """Validate, test and keep an exponential moving average of the weights. The value is the decay per step; null: off."""
    early_stopping: int | None = None
    """Stop after this many epochs without a better score of `monitor`; null: never."""


@dataclass
class BackboneConfig:
    name: str = MISSING
    """Name of the network; timm/NAME.TAG is one of timm's."""
    weights: str | None = "IMAGENET1K_V1"
    """A weights name or tag, a file or a run's checkpoint (also searched in FLOWERS_TL_WEIGHTS), hf-hub:OWNER/NAME, or null: random."""
    preprocessing: Any = None
    """How images are prepared: a weights name or tag, or values such as {resize: 232}; null: as the weights expect."""


@dataclass
class CacheConfig:
    """What is computed once and kept on disk: decoded images, and the outputs of the frozen stages."""

    enabled: bool = True
    """false: cache nothing. Every image is decoded in every epoch, and each epoch has new crops, as with `cache.views=null`."""
    dir: str | None = None
    """Folder; null: FLOWERS_TL_CACHE, or else flowers_tl in the user's cache folder. `python -m flowers_tl.cache` lists and
    clears it."""
    max_gb: float = 20.0
    """Maximum size in gigabytes. Beyond it, the entries that were unused for the longest time are removed."""
    views: int | None = 4
    """Number of fixed views of each training image. A view is a crop that may be flipped. The epochs use them in
    turn; null: a new view in each epoch."""
    view_seed: int | None = None
    """Seed of these views; null: `seed`. Runs with the same view_seed share the cached features."""
    precision: str = "fp32"
    """Precision of the frozen prefix: `fp32`, or `bf16`, which is faster if the CPU or GPU supports bfloat16."""


@dataclass
class HeadsConfig:
    """If only the head is trained, one run can train many heads: one for each combination of these values."""

    lr: list[float] | None = None
    """Learning rates of the head; null: the value of the strategy."""
    weight_decay: list[float] | None = None
    """Weight decays of the head; null: the value of the strategy. For a solved head: the weight decays to try."""
    seeds: int = 1
    """Number of seeds, beginning with `seed`. All share the same views: those of cache.view_seed, or of the first seed if it is null."""


@dataclass
class ComputeConfig:
    channels_last: bool = True
    """Store images with the channels last in memory: convolutions are faster; results differ by rounding."""
    compile: bool = False
    """Compile the trainable stages with torch.compile: faster, after half a minute or more; results differ by rounding."""
    gradient_checkpointing: bool = False
    """Keep only what enters each trainable stage, and compute the rest again in the backward pass: less memory, slower, same bits."""


@dataclass
class TrainerConfig:
    """Arguments of lightning.Trainer by their own names; null leaves Lightning's default."""

    max_epochs: int = 15
    """Number of epochs."""
    accelerator: str = "auto"
    """cpu, gpu, or auto: a GPU if there is one."""
    devices: Any = 1
    """Number of devices."""
    num_nodes: int = 1
    """Number of machines."""
    strategy: Any = "auto"
    """How devices share the work (ddp, ...); not the transfer strategy."""
    precision: Any = None
    """Precision of training, such as bf16-mixed; null: float32."""
    deterministic: Any = True
    """true: use only operations that give the same result each time."""
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
    """Scale gradients down to this norm where it is larger; null: off."""
    gradient_clip_algorithm: str | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    profiler: str | None = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    """With several GPUs: trainable BatchNorm uses the statistics of all images of a step, not only those of one GPU."""
    plugins: Any = None


@dataclass
class TrainConfig:
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    """Which stages are trained, at which learning rates, and from which epoch."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Which network, from which weights."""
    data: Any = MISSING
    """Which images."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Which optimizer."""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """How the learning rates change over the run."""
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    """What reduces overfitting to the few images."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The cache on disk: decoded images and features."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Many heads in one run."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Options for speed."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Epochs, devices, precision: arguments of lightning.Trainer."""
    seed: int = 0
    """Seed of all random numbers."""
    runs: str = "${oc.env:FLOWERS_TL_RUNS,outputs}"
    """Folder of all runs (default: FLOWERS_TL_RUNS, or outputs). A finished run there is not repeated; a stopped one continues."""
    force: bool = False
    """Repeat the run from the start, even if it is finished or was interrupted."""
    monitor: str = "val/accuracy"
    """By which score of the val images the best checkpoint, early stopping, a search and `compare` select: val/accuracy, val/loss,
    val/balanced_accuracy, val/macro_f1, val/auroc, or another metric of `evaluate`."""
    logger: str = "tensorboard"
    """Where curves, hyper-parameters and final scores go: tensorboard, csv, wandb, mlflow, trackio, several as in csv+wandb, or none."""
    test_best: bool = False
    """Test the best checkpoint by `monitor` too, not only the final weights."""
    ckpt_path: str | None = None
    """`last`: continue the stopped run in the folder hydra.run.dir. Path of a checkpoint: continue its run in a new folder."""
    proof: bool = True
    """Freeze check: check during training that frozen tensors do not change and that training does what the table says."""
    print_strategy: bool = False
    """Only print which stages would be trained; nothing is loaded, trained or written."""


store = ConfigStore.instance()
store.store(name="schema", node=TrainConfig)
for name in NETWORKS:
    store.store(group="backbone", name=name, node={"name": name})

"""Which values a key may have: plain ranges and choices, for all keys in one table. It needs neither Hydra nor PyTorch."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flowers_tl.config.keys import flatten
from flowers_tl.utils.errors import UserError, suggest


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``, but not the ends in ``without``; or one of the ``choices``.

    null is always allowed here: the schema says where it may stand. ``remedy`` ends the sentence about a wrong value.
    ``texts``: whether a text may stand for a number, which Lightning reads.
    """

    low: float = 0
    high: float = math.inf
    without: tuple[float, ...] = (math.inf,)
    choices: tuple[str | bool, ...] = ()
    remedy: str = ""
    texts: bool = False

    def allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, str):
            return self.texts
        # NaN lies nowhere.
        return number and self.low <= value <= self.high and value not in self.without

    def describe(self, value: Any) -> str:
        """What is wrong with the value, to stand behind it in a sentence."""
        if self.choices:
            return f"is unknown: {suggest(value, map(str, self.choices))}"
        if self.high == math.inf:
            return f"must be {'above' if self.low in self.without else 'at least'} {self.low:g}"
        if self.without == (self.high,):
            return f"must be at least {self.low:g} and below {self.high:g}"
        return f"must lie between {self.low:g} and {self.high:g}"


# A star stands for a position in a list.
RANGES = {
    "seed": Range(),
    "strategy.weights": Range(choices=("pretrained", "random")),
    "strategy.head": Range(choices=("random", "solved", "neighbours")),
    "strategy.neighbours.*": Range(1),
    "strategy.frozen_batchnorm": Range(choices=("eval", "train")),
    "strategy.table.*.from_epoch": Range(),
    "strategy.table.*.every": Range(1, remedy="null trains all stages of the row from the same epoch on"),
    "strategy.table.*.weight_decay": Range(remedy="null means optimizer.weight_decay"),
    "strategy.table.*.only.*": Range(choices=("norm", "bias", "weight")),
    "strategy.table.*.adapter": Range(choices=("lora",)),
    "strategy.table.*.rank": Range(1, remedy="null means 8"),
    "strategy.table.*.l2_sp": Range(without=(0, math.inf), remedy="null means no pull"),
    "strategy.table.*.alpha": Range(without=(0, math.inf), remedy="null means the rank"),
    "strategy.table.*.layers.*": Range(choices=("attention", "mlp", "conv")),
    "data.num_classes": Range(2, remedy="null means the number of classes of the data set"),
    "data.image_size": Range(16, 10_000),
    "data.batch_size": Range(1),
    "data.num_workers": Range(remedy="null means a suitable number"),
    "data.augmentation": Range(choices=("crop", "random_resized_crop", "trivial_augment", "none")),
    "data.fit": Range(choices=("crop", "pad", "squash")),
    "data.flip": Range(choices=("none", "horizontal", "both")),
    "backbone.preprocessing.resize": Range(1, 10_000),
    "backbone.preprocessing.crop": Range(1, 10_000),
    "backbone.preprocessing.interpolation": Range(choices=("nearest", "bilinear", "bicubic")),
    "backbone.preprocessing.mean.*": Range(0, 1, ()),
    "backbone.preprocessing.std.*": Range(0, 1, (0,)),
    "data.limit": Range(1, remedy="null means all images"),
    "data.protocol": Range(choices=("official", "trainval")),
    "data.per_class": Range(1, remedy="null means all images"),
    "data.balance": Range(choices=("none", "weights", "sampler")),
    "data.train_per_class": Range(1),
    "data.val_per_class": Range(1),
    "data.test_per_class": Range(1),
    "data.first_species": Range(),
    "data.partition": Range(1, 10),
    "data.split_seed": Range(),
    "data.folds": Range(2, 100, remedy="null means no cross-validation"),
    "data.fold": Range(),
    "optimizer.name": Range(choices=("adam", "adamw", "sgd")),
    "optimizer.weight_decay": Range(),
    "optimizer.betas.*": Range(0, 1, (1,)),
    "optimizer.momentum": Range(0, 1, (1,)),
    "scheduler.name": Range(choices=("constant", "cosine", "onecycle")),
    "scheduler.warmup_epochs": Range(),
    "scheduler.final": Range(0, 1, remedy="it is a share of the learning rates"),
    "scheduler.pct_start": Range(0, 1, (0, 1), remedy="it is the share of steps in which the rates rise"),
    "regularisation.label_smoothing": Range(0, 1, (1,), remedy="it is the share of a label that all classes get"),
    "regularisation.mixup": Range(1e-6, without=(math.inf,), remedy="null turns it off"),
    "regularisation.cutmix": Range(without=(0, math.inf), remedy="null turns it off"),
    "regularisation.ema": Range(0, 1, (0, 1), remedy="it is the share that stays at each step; null turns it off"),
    "regularisation.early_stopping": Range(1, remedy="null never stops early"),
    "cache.max_gb": Range(without=(0,), remedy="cache.enabled=false turns the cache off"),
    "cache.views": Range(1, remedy="null makes fresh crops in each epoch"),
    "cache.view_seed": Range(remedy="null means the seed of the run"),
    "cache.precision": Range(choices=("fp32", "bf16")),
    "heads.lr.*": Range(without=(0, math.inf)),
    "heads.weight_decay.*": Range(),
    "heads.seeds": Range(1),
    "trainer.max_epochs": Range(1),
    "trainer.min_epochs": Range(),
    "trainer.accelerator": Range(choices=("auto", "cpu", "gpu", "cuda", "mps", "tpu")),
    "trainer.deterministic": Range(choices=(True, False, "warn")),
    "trainer.val_check_interval": Range(without=(0, math.inf), remedy="null validates once an epoch", texts=True),
    "trainer.check_val_every_n_epoch": Range(1),
    "trainer.num_sanity_val_steps": Range(-1, remedy="-1 means all batches"),
    "trainer.log_every_n_steps": Range(),
    "trainer.accumulate_grad_batches": Range(1),
    "trainer.gradient_clip_val": Range(without=(), remedy="null clips nothing"),
    "trainer.gradient_clip_algorithm": Range(choices=("norm", "value")),
}


def validate_switches(config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Raise UserError for an override that gives a switch of the config a number: OmegaConf takes 3 for true."""
    values = flatten(config)
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if isinstance(values.get(key), bool) and text.lstrip("+-").isdecimal() and text not in ("0", "1"):
            raise UserError(f"{key}={text} must be true or false.")


def validate_ranges(config: Mapping[str, Any]) -> None:
    """Raise UserError for the first value of a config, plain Python, that is out of its range or none of the choices."""
    for key, value in flatten(config).items():
        # Adam divides a rate by a tenth, and the result must be a float32.
        if isinstance(value, int | float) and 3e37 < value < math.inf:
            raise UserError(f"{key}={value} is too large to compute with: use a smaller number.")
        allowed = RANGES.get(re.sub(r"\.\d+\b", ".*", key))
        if allowed and value is not None and not allowed.allows(value):
            remedy = f"; {allowed.remedy}" if allowed.remedy else ""
            raise UserError(f"{key}={value} {allowed.describe(value)}{remedy}.")

"""Measure a trained network on any split: ``python -m flowers_tl.evaluate ckpt=RUN split=test``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class EvaluateOptions:
    """Accuracy, loss, calibration and the errors of every class of a trained network, on a split of the images of its run,
    or of others (data=... data.root=...). The logits are the very ones that training measured."""

    ckpt: Path
    """A checkpoint, or a run's folder, whose last one is taken."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Of the data; all: every image, however the set is split."""
    calibrate: bool = False
    """true: fit a temperature on val, and keep it in the checkpoint for all who ask for probabilities."""
    conformal: float | None = None
    """Share of prediction sets that may miss the true class: measure such sets, made by val."""
    out: Path | None = None
    """Folder of the files; by default a new one in outputs."""
    overrides: Annotated[list[str], Positional("[data.KEY=...] [cache.KEY=...]", is_override("data", "cache"))] = field(
        default_factory=list
    )
    """Other images or another part of the same, as python -m flowers_tl.train --help lists these keys."""


@command
def main(options: EvaluateOptions) -> None:
    """Print what is measured, and write it."""
    from flowers_tl.inference.evaluate import evaluate

    evaluate(**vars(options))


if __name__ == "__main__":
    main()

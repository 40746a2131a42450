"""Measure a trained network on any split: ``python -m flowers_tl.evaluate ckpt=RUN split=test``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from flowers_tl.cli.options import Positional, command, is_override


@dataclass(kw_only=True)
class EvaluateOptions:
    """Accuracy, loss, calibration and the errors of every class of a trained network, on a split of the images of its run,
    or of others (data=... data.root=...). On images of the run, the logits are identical to those of training."""

    ckpt: Path
    """A checkpoint, or the folder of a run (its last checkpoint is used)."""
    split: Literal["train", "val", "test", "all"] = "test"
    """The split to measure; all: every image of the data set."""
    calibrate: bool = False
    """true: fit a temperature on val and keep it in the checkpoint, for the probabilities of predict, serve and export."""
    conformal: float | None = None
    """Also measure prediction sets, of which this share may miss the true class (0.1: one in ten); val sets the threshold."""
    exclude: Path | None = None
    """An audit.csv: also say what accuracy is without the images that it leaves out."""
    out: Path | None = None
    """Folder of the files; by default a new one in outputs."""
    overrides: Annotated[list[str], Positional("[data.KEY=...] [cache.KEY=...]", is_override("data", "cache"))] = field(
        default_factory=list
    )
    """Keys of train, for other images or another part of the same."""


@command
def main(options: EvaluateOptions) -> None:
    """Print what is measured, and write it."""
    from flowers_tl.inference.evaluate import evaluate

    evaluate(**vars(options))


if __name__ == "__main__":
    main()

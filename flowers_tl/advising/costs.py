"""What a run will take: predicted from the seconds of the network's stages and from what the runs of the race have taken."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from flowers_tl.advising.candidates import Candidate
from flowers_tl.models.frozen_prefix import find_entry_stage
from flowers_tl.training.factory import make_model

# Of a training step to a forward pass, in each stage behind the frozen prefix.
STEP = 3
# Before a run has shown it: seconds of its start, and of an epoch beside the passes; its seconds to those of its passes where only
# the head is trained, and where more is.
GUESS = np.array([1.0, 0.3, 1.0, 1.3])
# What each guess counts, and a measured run counts 1: little.
TRUST = 0.02
# A test reads a checkpoint and draws figures: beside its pass that takes as long as so many epochs.
TEST_EPOCHS = 2
# The last runs of which the slowest says how fast the machine is.
RECENT = 3


class Expected(NamedTuple):
    """Epochs of a run with its last validation, seconds of its passes, those in the frozen prefix among them, and of its test's: in
    the frozen prefix, once, and behind.
    """

    epochs: int
    run: float
    prefix: float
    test_prefix: float
    test_behind: float


class Costs:
    """Predicts the seconds of runs; what it knows comes from :meth:`measured` and :meth:`learn`."""

    def __init__(self) -> None:
        self.expected: dict[str, Expected] = {}
        self.last: dict[str, float] = {}
        self.runs: list[tuple[Candidate, float]] = []
        # Seconds of passes through the frozen prefix to the expected ones.
        self.ratios: list[float] = []

    def measured(self, stages: Mapping[str, float], sizes: Mapping[str, int], candidates: Iterable[Candidate]) -> None:
        """Take over the seconds of one image in each stage of these candidates' network, and the number of images by split."""
        self.expected |= {one.name: add_passes(one, stages, sizes) for one in candidates}

    def predict(self, candidate: Candidate) -> float:
        """Seconds of its next run: the last one's, else by its parts."""
        return self.last.get(candidate.name) or float(self.parts(candidate) @ self.factors())

    @property
    def slowdown(self) -> float:
        """By how much the machine is slower in a run than in the seconds in which its stages were measured; it may have been busy."""
        return max(self.ratios[-RECENT:], default=1.0)

    def factors(self) -> np.ndarray:
        return fit_factors([(self.parts(one), seconds) for one, seconds in self.runs])

    def parts(self, candidate: Candidate) -> np.ndarray:
        """Guessed seconds of a first run, (4,), as in GUESS."""
        expected, rows = self.expected[candidate.name], candidate.config["strategy"]["table"]
        more, passes = any(row["stage"] != "head" for row in rows), self.slowdown * expected.run
        return GUESS * [1, expected.epochs, passes * (not more), passes * more]

    def test(self, candidate: Candidate, seeds: int) -> float:
        """Predict the seconds of the tests of ``seeds`` runs, which share one pass of the images through the frozen prefix."""
        expected, fixed = self.expected[candidate.name], GUESS * [1, TEST_EPOCHS, 0, 0] @ self.factors()
        return self.slowdown * (expected.test_prefix + seeds * expected.test_behind) + seeds * float(fixed)

    def learn(self, candidate: Candidate, seconds: Mapping[str, float], passed: float) -> None:
        """Take over what a run took: by phase, as it records it, and what ``passed`` meanwhile, less where the run was found."""
        self.last[candidate.name] = max(passed, seconds["total"])
        # Later ones find outputs kept.
        if candidate.seeds == 1:
            self.runs.append((candidate, max(0.01, self.last[candidate.name] - seconds["decode"])))
            expected = self.expected[candidate.name].prefix
            kept = seconds.get("cold", seconds["total"]) - seconds["total"]
            # What took a second tells nothing, nor do outputs that another run had left in the cache.
            if expected > 1 and seconds["prefix"] > kept:
                self.ratios.append(seconds["prefix"] / expected)


def fit_factors(runs: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """By how much to multiply a run's guessed parts, (4,), so that they add up to what ``runs`` of given parts and seconds took.

    By least squares of relative errors. A part that is small in all runs keeps about its guess: with few images starts and epochs
    are learned, with many the passes.
    """
    rows = [parts / seconds for parts, seconds in runs] + [*(TRUST * np.eye(len(GUESS)))]
    return nnls(np.stack(rows), np.array([1.0] * len(runs) + [TRUST] * len(GUESS)))[0]


def add_passes(candidate: Candidate, stages: Mapping[str, float], sizes: Mapping[str, int]) -> Expected:
    """Seconds of all passes of a run, each through the stages that its epoch computes; outputs of a frozen prefix are kept."""
    config = candidate.config
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    epochs, views = config["trainer"]["max_epochs"] if model.groups else 0, config["cache"]["views"]
    names, whole = list(stages), sum(stages.values())
    passes: set[tuple[str | None, str, int]] = set()
    total = prefixes = 0.0
    for epoch in range(epochs + 1):
        entry = find_entry_stage(model, epoch)
        prefix = sum(stages[name] for name in names[: model.backbone.stage_names.index(entry)]) if entry else 0.0
        wanted = {(entry, "val", 0), (entry, "train", epoch if views is None else epoch % views)}
        prefixes += prefix * sum(sizes[split] for _, split, _ in wanted - passes)
        passes |= wanted
        behind = whole - prefix
        total += behind * (sizes["val"] + (STEP * sizes["train"] if epoch < epochs else 0))
    return Expected(epochs + 1, prefixes + total, prefixes, sizes["test"] * prefix, sizes["test"] * behind)

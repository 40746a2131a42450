"""What a run will take: predicted from the seconds of the network's stages and from what the runs of the race have taken."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from flowers_tl.advising.candidates import Candidate
from flowers_tl.models.frozen_prefix import find_entry_stage
from flowers_tl.training.factory import make_model

# Of a training step to a forward pass, in each stage behind the frozen prefix.
STEP = 3
# A run's seconds to those of its passes, until a run has shown it: where only the head is trained, and where more is.
RATIOS = {False: 1.0, True: 1.3}


class Expected(NamedTuple):
    """Seconds of the passes of a run without its test, and of the test: in the frozen prefix, whose outputs are kept, and behind."""

    run: float
    test_prefix: float
    test_behind: float


class Costs:
    """Predicts the seconds of runs; what it knows comes from :meth:`measured` and :meth:`learn`."""

    def __init__(self) -> None:
        self.stages: dict[str, Mapping[str, float]] = {}
        self.expected: dict[str, Expected] = {}
        self.ratios: dict[bool, list[float]] = {kind: [ratio] for kind, ratio in RATIOS.items()}
        self.fixed = 0.0

    def measured(self, network: str, stages: Mapping[str, float], sizes: Mapping[str, int]) -> None:
        """Take over the seconds of one image in each stage of a network, and the number of images by split."""
        self.stages[network], self.sizes = stages, sizes

    def predict(self, candidate: Candidate) -> float:
        """Seconds of its next run: the last one's, else of its passes, corrected by how far earlier predictions were off."""
        if candidate.seconds:
            return candidate.seconds[-1]
        return self.fixed + self.of_passes(candidate).run * max(self.ratios[trains_stages(candidate)])

    def of_passes(self, candidate: Candidate) -> Expected:
        if candidate.name not in self.expected:
            self.expected[candidate.name] = add_passes(candidate, self.stages[candidate.network], self.sizes)
        return self.expected[candidate.name]

    def test(self, candidate: Candidate, seeds: int) -> float:
        """Predict the seconds of the tests of ``seeds`` runs, which share one pass of the images through the frozen prefix."""
        expected = self.of_passes(candidate)
        return expected.test_prefix + seeds * (expected.test_behind + self.fixed)

    def learn(self, candidate: Candidate, seconds: Mapping[str, float]) -> None:
        """Take over what a first run took, by phase; later ones find outputs kept."""
        if candidate.seeds == 1:
            passes = seconds["prefix"] + seconds["fit"]
            self.fixed = seconds["total"] - passes - seconds["decode"]
            # What took a second tells nothing.
            if (expected := self.of_passes(candidate).run) > 1:
                kind = trains_stages(candidate)
                self.ratios[kind] = [*self.ratios[kind][-2:], passes / expected]


def trains_stages(candidate: Candidate) -> bool:
    """Whether more than the head is trained."""
    return any(row["stage"] != "head" for row in candidate.config["strategy"]["table"])


def add_passes(candidate: Candidate, stages: Mapping[str, float], sizes: Mapping[str, int]) -> Expected:
    """Seconds of all passes of a run, each through the stages that its epoch computes; outputs of a frozen prefix are kept."""
    config = candidate.config
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    epochs, views = config["trainer"]["max_epochs"] if model.groups else 0, config["cache"]["views"]
    names, whole = list(stages), sum(stages.values())
    passes: set[tuple[str | None, str, int]] = set()
    total = 0.0
    for epoch in range(epochs + 1):
        entry = find_entry_stage(model, epoch)
        prefix = sum(stages[name] for name in names[: model.backbone.stage_names.index(entry)]) if entry else 0.0
        wanted = {(entry, "val", 0), (entry, "train", epoch if views is None else epoch % views)}
        total += prefix * sum(sizes[split] for _, split, _ in wanted - passes)
        passes |= wanted
        behind = whole - prefix
        total += behind * (sizes["val"] + (STEP * sizes["train"] if epoch < epochs else 0))
    return Expected(total, sizes["test"] * prefix, sizes["test"] * behind)

"""What a run will take: predicted from its FLOPs and from what the runs of the race have taken."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowers_tl.advising.candidates import Candidate
from flowers_tl.models.frozen_prefix import find_entry_stage
from flowers_tl.training.factory import make_model
from flowers_tl.training.flops import count_flops

# By how much a FLOP takes longer in a run than in one forward pass of the network, until a run has shown it: where only the
# head is trained, and where there are backward passes, which move more memory.
RATIOS = {False: 1.0, True: 1.5}


class Costs:
    """Predicts the seconds of runs; what it knows comes from :meth:`measured` and :meth:`learn`."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.flops: dict[str, Flops] = {}
        self.ratios: dict[bool, list[float]] = {kind: [ratio] for kind, ratio in RATIOS.items()}
        self.fixed: list[float] = [0.0]

    def measured(self, candidate: Candidate, seconds: float, classes: int, sizes: Mapping[str, int]) -> None:
        """Take over the seconds of one image through its network, the number of classes, and the images by split."""
        self.classes, self.sizes = classes, sizes
        self.rates[candidate.backbone] = count_flops(candidate.config, classes, 0, 0)["forward"] / seconds

    def predict(self, candidate: Candidate) -> float:
        """Seconds of its next run: the last one's, else by its FLOPs and by how far earlier predictions were off."""
        if candidate.seconds:
            return candidate.seconds[-1]
        return max(self.fixed) + self.by_flops(candidate) * max(self.ratios[trains_stages(candidate)])

    def count(self, candidate: Candidate) -> "Flops":
        if candidate.name not in self.flops:
            self.flops[candidate.name] = count_kept_flops(candidate.config, self.classes, self.sizes)
        return self.flops[candidate.name]

    def by_flops(self, candidate: Candidate) -> float:
        """Seconds of a run without its test, if each FLOP took as long as in one forward pass of the network."""
        return self.count(candidate).run / self.rates[candidate.backbone]

    def learn(self, candidate: Candidate, seconds: Mapping[str, float]) -> None:
        """Take over what a first run took, by phase; later ones find outputs kept."""
        if candidate.seeds == 1:
            variable = seconds["prefix"] + seconds["fit"]
            self.fixed = [seconds["total"] - variable - seconds["decode"]]
            # What took a second tells nothing.
            if (expected := self.by_flops(candidate)) > 1:
                kind = trains_stages(candidate)
                self.ratios[kind] = [*self.ratios[kind][-2:], variable / expected]

    def test(self, candidate: Candidate, seeds: int) -> float:
        """Seconds of the tests of so many seeds, which share one pass of the images through the frozen prefix."""
        flops = self.count(candidate)
        return (flops.test_prefix + seeds * flops.test_behind) / self.rates[candidate.backbone]


def trains_stages(candidate: Candidate) -> bool:
    """Whether more than the head is trained."""
    return any(row["stage"] != "head" for row in candidate.config["strategy"]["table"])


class Flops(NamedTuple):
    """FLOPs of a run without its test, and of the test: in the frozen prefix, whose outputs are kept, and behind it."""

    run: float
    test_prefix: float
    test_behind: float


def count_kept_flops(config: dict[str, Any], classes: int, sizes: Mapping[str, int]) -> Flops:
    """Count what a run computes where the outputs of its frozen prefix are kept: forward and backward, train and val."""
    with torch.device("meta"):
        model = make_model(config, classes).eval()
        batch = torch.empty(2, 3, config["data"]["image_size"], config["data"]["image_size"])
    epochs, views = config["trainer"]["max_epochs"] if model.groups else 0, config["cache"]["views"]
    forward = count_flops(config, classes, 0, 0)["forward"]
    prefixes: dict[str | None, int] = {None: 0}
    passes: set[tuple[str, int | str]] = set()
    total = 0.0
    for epoch in range(epochs + 1):
        stage = find_entry_stage(model, epoch)
        if stage not in prefixes:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model.backbone.run(batch, None, stage)
            prefixes[stage] = counter.get_total_flops() // 2
        behind = forward - prefixes[stage]
        total += sizes["val"] * behind
        if stage is not None:
            passes |= {(stage, "val"), (stage, epoch if views is None else epoch % views)}
        if epoch < epochs:
            # By the backward pass a trainable layer costs about twice its forward pass more.
            total += sizes["train"] * 3 * behind
    total += sum(prefixes[stage] * sizes["val" if view == "val" else "train"] for stage, view in passes)
    return Flops(total, sizes["test"] * prefixes[stage], sizes["test"] * (forward - prefixes[stage]))

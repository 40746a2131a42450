"""A race of candidates in a folder: one look at the images, a seed a round, decisions, and the test at the end."""

import gc
import logging
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.advising.candidates import Candidate
from flowers_tl.advising.costs import Costs
from flowers_tl.advising.decisions import MOST_SEEDS, compare_with_leader, seeds_to_decide, validate_reach
from flowers_tl.advising.profile import StageScore, profile, seconds_by_stage
from flowers_tl.advising.race_record import RaceRecord
from flowers_tl.inference.evaluate import make_trainer
from flowers_tl.models.frozen_prefix import fingerprint_stages
from flowers_tl.results.predictions import Predictions
from flowers_tl.results.statistics import FEWEST_SEEDS, top_k
from flowers_tl.runs.read_record import follow_link
from flowers_tl.runs.record import UNTESTED, read_result
from flowers_tl.training.factory import frozen_features
from flowers_tl.training.run_once import train_once
from flowers_tl.training.trainer import quiet_lightning
from flowers_tl.training.validate import validated_data
from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.files import lacks_room
from flowers_tl.utils.notes import clock, log


class Race(RaceRecord):
    """A race in a folder, which another process that gives the same command goes on with."""

    def __init__(self, folder: Path, candidates: list[Candidate], question: dict[str, Any], limit: float) -> None:
        super().__init__(folder, question)
        self.candidates, self.limit, self.matters = candidates, limit, question["matters"] / 100
        self.costs, self.data_name = Costs(), ""
        self.needed: dict[tuple[str, str, int, int], int | None] = {}

    @property
    def rest(self) -> float:
        """Seconds of the budget that are left."""
        return self.limit - sum(self.spent.values())

    @property
    def racing(self) -> list[Candidate]:
        """The candidates that have a run and have not left."""
        return [one for one in self.candidates if one.seeds and not one.left]

    @property
    def begun(self) -> int:
        """How many candidates have a run: as time allowed it, whatever they reached."""
        return sum(one.seeds > 0 for one in self.candidates)

    @property
    def leader(self) -> Candidate:
        """The one with the best mean validation accuracy."""
        return max(self.racing, key=lambda one: one.accuracy)

    def look(self) -> list[StageScore]:
        """Pass the images once through each network: the depth profile, and how fast this machine is."""
        scores: list[StageScore] = []
        for name, config in {one.network: one.frozen_config for one in self.candidates}.items():
            begun, step = time.monotonic(), f"profile of {name}"
            with quiet_lightning(logging.WARNING):
                data = validated_data(config)
                features = frozen_features(config, data, make_trainer(config["trainer"]))
            network = features.model.backbone
            fingerprints = {
                "images": data.split_fingerprints(),
                "weights": fingerprint_stages(network, network.stages[:-1]),
            }
            if self.inputs.setdefault(name, fingerprints) != fingerprints:
                raise UserError(
                    f"The images or the weights have changed since the race in {self.folder} began: use a new folder with out=DIR."
                )
            seconds = seconds_by_stage(features)
            needed = sum(seconds.values()) * (data.sizes["train"] + data.sizes["val"])
            if step not in self.spent and needed > self.rest:
                raise UserError(
                    f"One pass of the images through {name} takes about {clock(needed)}, more than is left of the "
                    f"budget: use budget={round(needed / 6) + 1}m or more."
                )
            validate_reach(data.sizes["val"], len(data.class_names), len(self.candidates), self.matters)
            self.data_name = data.name
            self.costs.measured(seconds, data.sizes, (one for one in self.candidates if one.network == name))
            stages = profile(features, name)
            # Kept from the first start on.
            if step not in self.spent:
                self.count(step, begun)
            best = max(stages, key=lambda one: one.solved)
            log.info(f"{name}: the features of its stage {best.stage} suit these images best (val {best.solved:.1%}).")
            scores += stages
        return scores

    def run(self) -> None:
        """Give the candidates one seed a round, the cheapest first, later the best first, until it is decided."""
        for earlier in range(MOST_SEEDS):
            order = sorted(
                [one for one in self.candidates if not (one.left or one.failed) and one.seeds == earlier],
                key=lambda one: -one.accuracy if one.seeds else self.costs.predict(one),
            )
            ran = []
            for one in order:
                if self.attempt(one, earlier):
                    ran.append(one)
                # Others are compared with the best by the seeds that both have.
                elif earlier and one is self.leader and not one.failed:
                    break
            if not self.racing:
                first = order[0]
                raise UserError(
                    f"No strategy could be tried ({first.name} {first.left}): use a larger budget, or mend what is wrong."
                )
            if not ran or len(self.racing) < 2:
                break
            self.decide(earlier + 1)
            # If further runs do as those do that there are.
            may_be_decided = (self.seeds_to_decide(one) for one in self.racing if one is not self.leader)
            if earlier + 1 >= FEWEST_SEEDS and not any(may_be_decided):
                break

    def attempt(self, candidate: Candidate, earlier: int) -> bool:
        """Run a candidate with its next seed, after so many ``earlier`` ones, if there is time; return whether there is a run."""
        seed = candidate.config["seed"] + earlier
        predicted = self.costs.predict(candidate) + self.costs.test(candidate, earlier + 1)
        if predicted > self.rest and not self.made(candidate, seed):
            if earlier == 0:
                left = clock(max(0, self.rest))
                candidate.left = (
                    f"is not begun: it would take about {clock(predicted)} with the test, and {left} were left"
                )
                log.info(f"{candidate.name} {candidate.left}.")
            return False
        try:
            folder = self.make(candidate, seed)
            hits = read_val_hits(folder)
        except (UserError, RuntimeError) as error:
            # Once there is room, the run is made again.
            if lacks_room(error):
                raise
            candidate.failed = f"failed with seed {seed}: {first_line(error)}"
            candidate.left = "" if candidate.seeds else candidate.failed
            log.info(f"{candidate.name} {candidate.failed}.")
            return False
        seconds = self.took[name := f"{candidate.name}, seed {seed}"]
        candidate.add(hits, folder, seconds)
        self.costs.learn(candidate, seconds, self.spent.get(name, 0.0))
        log.info(
            f"round {earlier + 1}  {candidate.name}: val accuracy {100 * hits.mean():.1f} %, {clock(seconds['total'])}; "
            f"{clock(max(0, self.rest))} of {clock(self.limit)} left"
        )
        return True

    def place(self, candidate: Candidate, seed: int) -> Path:
        """The folder of a run, or of a note where it lies."""
        return self.folder / "runs" / f"{candidate.name.replace(' ', '_').replace('/', '_')}_seed{seed}"

    def made(self, candidate: Candidate, seed: int, tested: bool = False) -> dict[str, Any]:
        """The record of a run that this race has made, and its test if that is wanted; else nothing."""
        record = read_result(follow_link(self.place(candidate, seed)))
        ended = record.get("status") in ("finished", UNTESTED) and ("test" in record or not tested)
        return record if ended and f"{candidate.name}, seed {seed}" in self.took else {}

    def make(self, candidate: Candidate, seed: int, tested: bool = False) -> Path:
        """Make or find a candidate's run, with its test or without; return its folder."""
        name, place = f"{candidate.name}, seed {seed}", self.place(candidate, seed)
        if not (record := self.made(candidate, seed, tested)):
            place.mkdir(parents=True, exist_ok=True)
            config = candidate.config | {"seed": seed}
            config["trainer"] = config["trainer"] | {"enable_progress_bar": False}
            begun = time.monotonic()
            try:
                with (
                    open(self.folder / "log.txt", "a", encoding="utf-8") as out,
                    redirect_stdout(out),
                    redirect_stderr(out),
                    quiet_lightning(logging.WARNING),
                ):
                    record = train_once(config, place, other_folders=[self.folder], tested=tested)
                if not tested:
                    self.took[name] = record["seconds"]
            finally:
                self.count(f"test of {name}" if tested else name, begun)
            # A trainer and its network refer to each other.
            gc.collect()
        if "test" in record:
            candidate.tests[seed] = record["test"]["accuracy"]
        return follow_link(place)

    def decide(self, seeds: int) -> None:
        """Compare after a round: who can't be better than the leader by what matters leaves."""
        by_name = {one.name: one for one in self.racing}
        for one in compare_with_leader({name: c.hits for name, c in by_name.items()}, seeds, self.begun):
            if one.leaves(self.matters):
                by_name[one.other].left = f"after {seeds} seeds: {one.sentence(self.matters)}"
                log.info(f"{one.other} leaves {by_name[one.other].left}.")

    def seeds_to_decide(self, other: Candidate) -> int | None:
        """How many seeds, after those that both have, would decide between the leader and another; None: none, or who knows."""
        best, seeds = self.leader, min(self.leader.seeds, other.seeds)
        # Asked after each round, and for the answer.
        key = best.name, other.name, seeds, self.begun
        if key not in self.needed and seeds > 1:
            self.needed[key] = seeds_to_decide(best.hits[:seeds], other.hits[:seeds], self.begun, self.matters)
        return self.needed.get(key)

    def test(self) -> None:
        """Measure the chosen one on the test images, and each rival for whose test there is time."""
        for candidate in sorted(self.racing, key=lambda one: -one.accuracy):
            for seed in range(candidate.config["seed"], candidate.config["seed"] + candidate.seeds):
                fits = candidate is self.leader or self.costs.test(candidate, 1) <= self.rest
                if fits and seed not in candidate.tests:
                    self.make(candidate, seed, tested=True)


def read_val_hits(folder: Path) -> np.ndarray:
    """Whether each val image is classified rightly by a run, bool (images,)."""
    predictions = Predictions.read(folder)
    if predictions is None or "val" not in predictions.splits:
        raise UserError(f"{folder} has no predictions for the val images: remove it, and give the same command again.")
    val = predictions.splits["val"]
    return top_k(val.logits, val.labels, 1)

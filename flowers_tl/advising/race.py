"""A race of candidates in a folder: one look at the images, a seed a round, decisions, and the test at the end."""

import gc
import logging
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from flowers_tl.advising.candidates import Candidate
from flowers_tl.advising.costs import Costs
from flowers_tl.advising.decisions import (
    MOST_SEEDS,
    compare_with_leader,
    find_leader,
    seeds_to_decide,
    validate_reach,
)
from flowers_tl.advising.profile import StageScore, profile, seconds_by_stage
from flowers_tl.inference.evaluate import make_trainer
from flowers_tl.results.predictions import Predictions
from flowers_tl.results.statistics import FEWEST_SEEDS, top_k
from flowers_tl.runs.read_record import follow_link, read_mapping
from flowers_tl.training.factory import frozen_features
from flowers_tl.training.run_once import train_once
from flowers_tl.training.trainer import lightning_quieted
from flowers_tl.training.validate import validated_data
from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write, dumps
from flowers_tl.utils.notes import clock, log


class Race:
    """A race in a folder, which another process that gives the same command goes on with.

    Attributes:
        spent: seconds of each step; a step that is done does not count again.
        took: what each run's record says of its seconds by phase, before its test.
    """

    def __init__(self, folder: Path, candidates: list[Candidate], question: dict[str, Any], limit: float) -> None:
        self.folder, self.candidates, self.question, self.limit = folder, candidates, question, limit
        self.matters = question["matters"] / 100
        self.lock = FileLock(folder / ".lock")
        self.spent: dict[str, float] = {}
        self.took: dict[str, dict[str, float]] = {}
        self.costs, self.data_name = Costs(), ""

    def __enter__(self) -> "Race":
        file = self.folder / "race.json"
        if self.folder.exists() and any(one.name != ".lock" for one in self.folder.iterdir()):
            try:
                earlier = read_mapping(file)
                same = earlier["question"] == self.question
                self.spent = {str(name): float(seconds) for name, seconds in earlier["spent"].items()}
                self.took = dict(earlier["took"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                same = False
            if not same:
                raise UserError(
                    f"{self.folder} holds other files, or the advice on another question: use a new folder with out=DIR."
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        lock_or_fail(self.lock, f"the race in {self.folder}")
        self.save()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def save(self) -> None:
        # The folder was empty, or says the same question.
        with atomic_write(self.folder / "race.json") as beside:
            beside.write_text(
                dumps({"question": self.question, "spent": self.spent, "took": self.took}, indent=2) + "\n",
                encoding="utf-8",
            )

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
        best = find_leader({one.name: one.hits for one in self.racing})
        return next(one for one in self.racing if one.name == best)

    def look(self) -> list[StageScore]:
        """Pass the images once through each network: the depth profile, and how fast this machine is."""
        scores: list[StageScore] = []
        for backbone, config in {one.backbone: one.frozen_config for one in self.candidates}.items():
            begun, step = time.monotonic(), f"profile of {backbone}"
            with lightning_quieted(logging.WARNING):
                data = validated_data(config)
                features = frozen_features(config, data, make_trainer(config["trainer"]))
            validate_reach(data.sizes["val"], data.count_classes(), len(self.candidates), self.matters)
            seconds = seconds_by_stage(features)
            needed = sum(seconds.values()) * (data.sizes["train"] + data.sizes["val"])
            if step not in self.spent and needed > self.rest:
                raise UserError(
                    f"One pass of the images through {backbone} takes about {clock(needed)}, more than is left of the "
                    f"budget: use budget={round(needed / 6) + 1}m or more."
                )
            self.data_name = data.name
            self.costs.measured(backbone, seconds, data.sizes)
            stages = profile(features)
            self.count(step, begun)
            best = max(stages, key=lambda one: one.solved)
            log.info(
                f"{backbone}: of its stages the features of {best.stage} suit these images best (val {best.solved:.1%})."
            )
            scores += stages
        return scores

    def count(self, step: str, begun: float) -> None:
        """Count the seconds of a step, unless it was done before."""
        self.spent.setdefault(step, round(time.monotonic() - begun, 2))
        self.save()

    def run(self) -> None:
        """Give the candidates one seed a round, the cheapest first, later the best first, until it is decided."""
        for earlier in range(MOST_SEEDS):
            order = sorted(
                [one for one in self.candidates if not one.left and one.seeds == earlier],
                key=lambda one: -one.accuracy if one.seeds else self.costs.predict(one),
            )
            ran = [one for one in order if self.attempt(one, earlier)]
            if not self.racing:
                first = order[0]
                raise UserError(
                    f"No strategy could be tried ({first.name} is {first.left}): use a larger budget, or mend what is wrong."
                )
            if not ran or len(self.racing) < 2:
                break
            self.decide(earlier + 1)
            if len(self.racing) < 2 or (earlier + 1 >= FEWEST_SEEDS and not self.may_be_decided()):
                break

    def attempt(self, candidate: Candidate, earlier: int) -> bool:
        """Run a candidate with its next seed, after so many ``earlier`` ones, if there is time; return whether there is a run."""
        seed = candidate.config["seed"] + earlier
        step, predicted = f"{candidate.name}, seed {seed}", self.costs.predict(candidate)
        test = self.costs.test(candidate, earlier + 1)
        if step not in self.spent and predicted + test > self.rest:
            if earlier == 0:
                needed = f"about {clock(predicted)} and {clock(test)} for the test"
                candidate.left = f"not begun: it would take {needed}, and {clock(max(0, self.rest))} were left"
                log.info(f"{candidate.name} is {candidate.left}.")
            return False
        try:
            folder = self.make(step, candidate, seed, tested=False)
            hits = read_val_hits(folder)
        except (UserError, RuntimeError) as error:
            candidate.left = f"failed with seed {seed}: {first_line(error)}"
            log.info(f"{candidate.name} {candidate.left}.")
            return False
        seconds = self.took.setdefault(step, read_mapping(folder / "result.json")["seconds"])
        candidate.add(hits, folder, seconds)
        self.costs.learn(candidate, seconds)
        log.info(
            f"round {earlier + 1}  {candidate.name}: val accuracy {hits.mean():.1%}, {clock(seconds['total'])}; "
            f"{clock(max(0, self.rest))} of {clock(self.limit)} left"
        )
        return True

    def make(self, step: str, candidate: Candidate, seed: int, tested: bool) -> Path:
        """Make or find a candidate's run, with its test or without; return its folder."""
        place = self.folder / "runs" / f"{candidate.name.replace(' ', '_').replace('/', '_')}_seed{seed}"
        folder = follow_link(place)
        if step not in self.spent or not (folder / "result.json").is_file():
            place.mkdir(parents=True, exist_ok=True)
            config = candidate.config | {"seed": seed}
            config["trainer"] = config["trainer"] | {"enable_progress_bar": False}
            begun = time.monotonic()
            with (
                open(self.folder / "log.txt", "a", encoding="utf-8") as out,
                redirect_stdout(out),
                redirect_stderr(out),
                lightning_quieted(logging.WARNING),
            ):
                train_once(config, place, other_folders=[self.folder], tested=tested)
            self.count(step, begun)
            # A trainer and its network refer to each other.
            gc.collect()
        return follow_link(place)

    def decide(self, seeds: int) -> None:
        """Compare after a round: who can't be better than the leader by what matters leaves."""
        by_name = {one.name: one for one in self.racing}
        for one in compare_with_leader({name: c.hits for name, c in by_name.items()}, seeds, self.begun):
            if one.leaves(self.matters):
                by_name[one.other].left = f"after {seeds} seeds: {one.sentence(self.matters)}"
                log.info(f"{one.other} leaves {by_name[one.other].left}.")

    def may_be_decided(self) -> bool:
        """Whether further seeds would decide between the leader and any other, if they do as those do that there are."""
        best = self.leader
        shared = {one: min(best.seeds, one.seeds) for one in self.racing if one is not best}
        return any(
            seeds > 1 and seeds_to_decide(best.hits[:seeds], one.hits[:seeds], self.begun, self.matters)
            for one, seeds in shared.items()
        )

    def test(self) -> None:
        """Measure the chosen one on the test images, and each rival for whose test there is time."""
        order = sorted(self.racing, key=lambda one: -one.accuracy)
        for candidate in [self.leader, *(one for one in order if one is not self.leader)]:
            for seed in range(candidate.config["seed"], candidate.config["seed"] + candidate.seeds):
                step = f"test of {candidate.name}, seed {seed}"
                if candidate is self.leader or step in self.spent or self.costs.test(candidate, 1) <= self.rest:
                    self.make(step, candidate, seed, tested=True)


def read_val_hits(folder: Path) -> np.ndarray:
    """Whether each val image is classified rightly by a run, bool (images,)."""
    predictions = Predictions.read(folder)
    if predictions is None or "val" not in predictions.splits:
        raise UserError(f"{folder} has no predictions for the val images: remove it, and give the same command again.")
    val = predictions.splits["val"]
    return top_k(val.logits, val.labels, 1)

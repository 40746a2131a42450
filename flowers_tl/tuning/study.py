"""A search's trials, one after another: what Optuna proposes, what came of it, and what is kept of it."""

import gc
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.table import Table

from flowers_tl.config.error_messages import explain_error
from flowers_tl.training.run import train
from flowers_tl.tuning.pruning import Pruned, PruningCallback
from flowers_tl.tuning.search_space import SearchSpace
from flowers_tl.utils.errors import UserError, shorten
from flowers_tl.utils.file_locks import claim
from flowers_tl.utils.notes import log, log_table
from flowers_tl.utils.strict_json import dumps

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """A search's folder, held while it runs: ``search.json``, Optuna's ``study.db``, and ``trials/NUMBER``, runs all.

    A trial that was interrupted is made again. What a trial proposes follows from the seed, the number of trials before it
    and what they found, so a search that goes on proposes what one without interruption does.

    Args:
        folder: made if it is not there; one with the same search is gone on with.
        space: what is searched.
        asked: what else tells searches apart; ``seed`` and ``pruning`` matter here.

    Raises:
        UserError: on entry, if the folder holds something else, or another process works on it.
    """

    def __init__(self, folder: Path, space: SearchSpace, asked: dict[str, Any]) -> None:
        self.folder, self.space, self.asked = folder, space, asked
        self.lock = FileLock(folder / ".lock")

    def __enter__(self) -> "Search":
        file = self.folder / "search.json"
        empty = not self.folder.is_dir() or not any(path.name != ".lock" for path in self.folder.iterdir())
        if not empty and not (file.is_file() and json.loads(file.read_text()) == self.asked):
            raise UserError(f"{self.folder} holds something else than this search: name a new one with folder=DIR.")
        self.folder.mkdir(parents=True, exist_ok=True)
        claim(self.lock, f"the search in {self.folder}")
        # The folder was empty, or says the same already.
        file.write_text(dumps(self.asked, indent=2) + "\n")
        self.study = optuna.create_study(
            study_name="search",
            storage=f"sqlite:///{(self.folder / 'study.db').absolute()}",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
            load_if_exists=True,
        )
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def ended(self) -> list[FrozenTrial]:
        """The trials that came to their own end; one that failed by itself says why."""
        return [
            t for t in self.study.trials if t.state.is_finished() and (t.state != TrialState.FAIL or failure_reason(t))
        ]

    def run(self, trials: int) -> None:
        """Run trials until so many have ended, or all combinations are tried.

        Raises:
            UserError: if all have failed.
        """
        while True:
            ended = self.ended()
            number, untried = len(ended), self.space.untried([t.user_attrs["chosen"] for t in ended], trials)
            if not untried if untried is not None else number >= trials:
                break
            if untried and not self.study.get_trials(states=(TrialState.WAITING,)):
                self.study.enqueue_trial(untried[0])
            self.study.sampler = optuna.samplers.TPESampler(
                seed=int(np.random.SeedSequence([self.asked["seed"], number]).generate_state(1)[0])
            )
            trial = self.study.ask()
            self.attempt(trial, [parameter.suggest(trial) for parameter in self.space.parameters])
            self.say(self.study.trials[trial.number], number + 1, trials)
        if all(failure_reason(trial) for trial in ended):
            raise UserError(f"All {len(ended)} trials failed; the first: {failure_reason(ended[0])}")

    def attempt(self, trial: Trial, chosen: list[str]) -> None:
        """Run one trial and tell Optuna what came of it, unless an earlier one with the same settings has."""
        trial.set_user_attr("chosen", chosen)
        for same in self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
            if same.user_attrs["chosen"] == chosen:
                trial.set_user_attr("same", same.number)
                self.study.tell(trial, same.value if same.state == TrialState.COMPLETE else None, same.state)
                return
        begun, folder = time.monotonic(), self.folder / "trials" / f"{trial.number:03}"
        state, value = TrialState.FAIL, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with printing_into(folder / "log.txt"):
                value = self.measure(trial, chosen, folder)
            state = TrialState.COMPLETE
        except Pruned:
            state = TrialState.PRUNED
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            trial.set_user_attr("error", explain_error(error))
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 1))
        self.study.tell(trial, value, state=state)
        gc.collect()  # a trainer and its network refer to each other

    def measure(self, trial: Trial, chosen: list[str], folder: Path) -> float:
        """Val accuracy with the final weights. The test images are left alone: a trial is chosen by what it returns."""
        config = self.space.compose(chosen)
        config["trainer"] |= {"limit_test_batches": 0, "enable_progress_bar": False}
        judges = [PruningCallback(trial)] if self.asked["pruning"] else []
        accuracy = train(config, folder, callbacks=judges)["val"]["accuracy"]
        if accuracy is None:
            raise UserError("The trial measured no val accuracy.")
        return accuracy

    def say(self, trial: FrozenTrial, number: int, trials: int) -> None:
        """Print a line on a trial that has ended."""
        settings = f"trial {trial.number}: {' '.join(trial.user_attrs['chosen'])}"
        if failure_reason(trial):
            log.error(f"Error: {settings}: {failure_reason(trial)}")
            return
        pruned = trial.state == TrialState.PRUNED
        found = (
            f"pruned at {trial.value:.1%}"
            if pruned and trial.value is not None
            else "pruned"
            if pruned
            else f"{trial.value:.1%}"
        )
        same, seconds = trial.user_attrs.get("same"), trial.user_attrs.get("seconds", 0)
        took = f"{seconds:.0f} s" if same is None else f"as trial {same}"
        log.info(f"[{number}/{trials}] {settings}: {found}, {took}")


@contextmanager
def printing_into(file: Path) -> Iterator[None]:
    """Let what a run prints go to a file, without Lightning's remarks on the machine, which are the same each time."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        # In a trial's folder, whose number Optuna gives once, below the search's own.
        with open(file, "w") as output, redirect_stdout(output), redirect_stderr(output):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def failure_reason(trial: FrozenTrial) -> str | None:
    """Why a trial failed; None where it did not, or was interrupted."""
    return trial.user_attrs.get("error")


def print_best(study: optuna.Study, space: SearchSpace, most: int = 5) -> list[str]:
    """Print the best trials, and how much each parameter matters; return the best one's overrides."""
    done = [t for t in study.trials if t.state == TrialState.COMPLETE and "same" not in t.user_attrs]
    done.sort(key=lambda trial: (-trial.value, trial.number))
    table = Table("trial", title=f"Best of {len(done)} whole trials", title_justify="left")
    table.add_column("val accuracy", justify="right")
    for parameter in space.parameters:
        table.add_column(parameter.key)
    for trial in done[:most]:
        table.add_row(
            str(trial.number), f"{trial.value:.1%}", *(c.partition("=")[2] for c in trial.user_attrs["chosen"])
        )
    log_table(table)
    pruned = sum(trial.state == TrialState.PRUNED for trial in study.trials)
    failed = [str(trial.number) for trial in study.trials if failure_reason(trial)]
    log.info(f"{pruned} trials were pruned, {len(failed)} failed{f': {shorten(failed)}' if failed else ''}.")
    if len(space.parameters) > 1 and len(done) >= 10:
        with warnings.catch_warnings(action="ignore"):
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()  # Optuna 4's default needs scikit-learn
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        log.info("Importance: " + ", ".join(f"{key} {share:.0%}" for key, share in shares.items()))
    return done[0].user_attrs["chosen"]

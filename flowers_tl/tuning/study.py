"""The trials of a search, one after another: Optuna proposes the settings, and each trial is a run in its folder."""

import gc
import logging
import os
import sqlite3
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from flowers_tl.config.hydra_errors import explain_error
from flowers_tl.results.scores import Metric
from flowers_tl.runs.read_record import read_mapping
from flowers_tl.training.run import train
from flowers_tl.training.trainer import quiet_lightning
from flowers_tl.tuning.pruning import Pruned, PruningCallback
from flowers_tl.tuning.search_space import SearchSpace
from flowers_tl.utils.errors import UserError, first_line, shorten
from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write, dumps, lacks_room
from flowers_tl.utils.notes import log, log_table

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """A search's folder, held while it runs: ``search.json``, Optuna's ``study.db``, and ``trials/NUMBER``, runs all.

    A trial that was interrupted is made again. The proposals of a trial follow from the seed, the number of trials before
    it and their results, so a search that is continued proposes what one without interruption does.

    Args:
        folder: made if it is missing; a search of the same identity in it is continued.
        space: that is searched.
        identity: tells searches apart; ``seed`` and ``pruning`` matter here.
        metric: by whose value on val the trials are judged.

    Raises:
        UserError: on entry, if the folder holds something else, or another process works on it.
    """

    def __init__(self, folder: Path, space: SearchSpace, identity: dict[str, Any], metric: Metric) -> None:
        self.folder, self.space, self.identity, self.metric = folder, space, identity, metric
        self.lock = FileLock(folder / ".lock")

    def __enter__(self) -> "Search":
        file = self.folder / "search.json"
        empty = not self.folder.is_dir() or not any(path.name != ".lock" for path in self.folder.iterdir())
        try:
            same = file.is_file() and read_mapping(file) == self.identity
        except ValueError as error:
            raise UserError(f"{file} is damaged: repair it, or use a new folder with folder=DIR.") from error
        if not empty and not same:
            raise UserError(f"{self.folder} holds another search, or other files: use a new folder with folder=DIR.")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock_or_fail(self.lock, f"the search in {self.folder}")
        # The folder was empty, or says the same already.
        with atomic_write(file) as beside:
            beside.write_text(dumps(self.identity, indent=2) + "\n", encoding="utf-8")
        database = self.folder.absolute() / "study.db"
        try:
            self.study = optuna.create_study(
                study_name="search",
                # The path as it is: in an address '?' begins the options, and Optuna fills in what is in braces.
                storage=RDBStorage("sqlite://", engine_kwargs={"creator": lambda: sqlite3.connect(database)}),
                direction="maximize" if self.metric.sign > 0 else "minimize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
                load_if_exists=True,
            )
            for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
                self.study.tell(trial.number, state=TrialState.FAIL)
        except Exception as error:
            self.lock.release()
            raise UserError(
                f"{database} can't be read as the trials of this search ({first_line(error)}): repair it, or use a new "
                "folder with folder=DIR."
            ) from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.lock.release()
        if error and type(error).__module__.startswith(("sqlalchemy.", "optuna.")):
            why = first_line(str(error.__cause__ or error))
            raise UserError(
                f"{self.folder / 'study.db'} can't be written ({why}): free some space there, and give the same command again."
            ) from error

    def ended(self) -> list[FrozenTrial]:
        """The trials that were not interrupted."""
        trials = self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        return [trial for trial in trials if trial.state != TrialState.FAIL or failure_reason(trial)]

    def run(self, trials: int) -> None:
        """Run trials until so many have ended, or all combinations are tried.

        Raises:
            UserError: if all have failed.
        """
        while True:
            ended = self.ended()
            number, untried = len(ended), self.space.untried([settings(trial) for trial in ended], trials)
            if untried == [] or (untried is None and number >= trials):
                break
            if untried and not self.study.get_trials(states=(TrialState.WAITING,)):
                self.study.enqueue_trial(untried[0])
            (seed,) = np.random.SeedSequence([self.identity["seed"], number]).generate_state(1)
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            trial = self.study.ask(self.space.parameters)
            self.attempt(trial)
            log_trial(self.study.trials[trial.number], f"[{number + 1}/{trials}]", self.metric)
        if all(failure_reason(trial) for trial in ended):
            raise UserError(f"All {len(ended)} trials failed; the first: {failure_reason(ended[0])}")

    def attempt(self, trial: Trial) -> None:
        """Run one trial and report its result to Optuna; an earlier trial of the same settings is not run again."""
        overrides = self.space.overrides(trial.params)
        trial.set_user_attr("chosen", overrides)
        for same in self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
            if settings(same) == overrides:
                trial.set_user_attr("same", same.number)
                self.study.tell(trial, same.value if same.state == TrialState.COMPLETE else None, same.state)
                return
        begun, folder = time.monotonic(), self.folder / "trials" / f"{trial.number:03}"
        state, value = TrialState.FAIL, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Nothing is overwritten: Optuna gives each number once.
            with (
                open(folder / "log.txt", "w", encoding="utf-8") as out,
                redirect_stdout(out),
                redirect_stderr(out),
                quiet_lightning(logging.WARNING),
            ):
                value = self.measure(trial, overrides, folder)
            state = TrialState.COMPLETE
        except Pruned:
            state = TrialState.PRUNED
        except Exception as error:
            # Once there is room, the trial is made again.
            if os.environ.get("HYDRA_FULL_ERROR") or lacks_room(error):
                raise
            trial.set_user_attr("error", explain_error(error))
        trial.set_user_attr("seconds", round(time.monotonic() - begun, 1))
        self.study.tell(trial, value, state=state)
        # A trainer and its network refer to each other.
        gc.collect()

    def measure(self, trial: Trial, overrides: list[str], folder: Path) -> float:
        """The monitored val score of the final weights. The test images are not read: the result selects the settings."""
        config = self.space.compose(overrides)
        config["trainer"] |= {"limit_test_batches": 0, "enable_progress_bar": False}
        callbacks = [PruningCallback(trial, self.metric)] if self.identity["pruning"] else []
        score = train(config, folder, callbacks=callbacks)["val"][self.metric.name]
        if score is None:
            raise UserError(f"The trial measured no val {self.metric.title}: check trainer.limit_val_batches.")
        return score


def log_trial(trial: FrozenTrial, count: str, metric: Metric) -> None:
    """Print a line on a trial that has ended; ``count`` says how many have."""
    title = f"trial {trial.number}: {' '.join(settings(trial))}"
    if failure_reason(trial):
        log.error(f"Error: {title}: {failure_reason(trial)}")
        return
    score = "" if trial.value is None else metric.short(trial.value)
    if trial.state == TrialState.PRUNED:
        score = f"pruned at {score}" if score else "pruned"
    same = trial.user_attrs.get("same")
    took = f"{trial.user_attrs['seconds']:.0f} s" if same is None else f"as trial {same}"
    log.info(f"{count} {title}: {score}, {took}")


def settings(trial: FrozenTrial) -> list[str]:
    """The overrides of a trial."""
    return trial.user_attrs["chosen"]


def failure_reason(trial: FrozenTrial) -> str | None:
    """Why a trial failed; None if it did not, or was interrupted."""
    return trial.user_attrs.get("error")


def print_best(study: optuna.Study, space: SearchSpace, metric: Metric, most: int = 5) -> list[str]:
    """Print the best trials, and how much each parameter matters; return the best one's overrides."""
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    done = sorted((t for t in complete if "same" not in t.user_attrs), key=lambda t: (-metric.sign * t.value, t.number))
    keys = [*space.parameters]
    rows = []
    for trial in done[:most]:
        values = (override.partition("=")[2] for override in settings(trial))
        rows.append([str(trial.number), metric.short(trial.value), *values])
    log_table(f"Best of {len(done)} whole trials", ["trial", f"val {metric.title}", *keys], rows, left=keys)
    pruned = len(study.get_trials(states=(TrialState.PRUNED,)))
    failed = [str(trial.number) for trial in study.trials if failure_reason(trial)]
    log.info(f"{pruned} trials were pruned, {len(failed)} failed{f': {shorten(failed)}' if failed else ''}.")
    if len(space.parameters) > 1 and len(done) >= 10:
        with warnings.catch_warnings(action="ignore"):
            # Optuna 4's default needs scikit-learn.
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        log.info(
            f"Importance for val {metric.title}: " + ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        )
    return settings(done[0])

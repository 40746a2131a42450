"""Several runs side by side: which belong together, what they say on average, and how that is written down."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flowers_tl.config.keys import WITHOUT_EFFECT, flatten
from flowers_tl.results.predictions import Predictions
from flowers_tl.runs.record import ELSEWHERE, divergence_reason
from flowers_tl.utils.errors import UserError

# What a result does not depend on: runs that differ in these alone are repetitions of one another.
IRRELEVANT = ("seed", *WITHOUT_EFFECT)


@dataclass(frozen=True)
class Run:
    """A finished run as its folder tells it: flat config (dotted keys), result, and history (column -> values)."""

    folder: Path
    config: dict[str, Any]
    result: dict[str, Any]
    history: dict[str, np.ndarray]

    def predictions(self) -> Predictions | None:
        """Its answers by image; None where it has kept none."""
        return Predictions.read(self.folder)

    @property
    def image_root(self) -> Path | None:
        """The folder under which its images lay."""
        root = self.result["data"].get("root")
        return None if root is None else Path(root)


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only by seed, under the shortest label that tells them from the other groups."""

    label: str
    runs: tuple[Run, ...]

    def values(self, *path: str) -> np.ndarray:
        """One number a run, found at ``path`` in its result."""
        found = []
        for run in self.runs:
            value: Any = run.result
            for key in path:
                value = value[key]
            found.append(value)
        return np.array(found, dtype=float)

    def curve(self, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Epochs, mean and standard deviation (0 for one run) of a history column, as far as all runs have it."""
        length = min(len(run.history.get("epoch", ())) for run in self.runs)
        if not length:  # solved, not trained: no epochs
            return np.empty(0), np.empty(0), np.empty(0)
        nothing = np.full(length, np.nan)  # a run without validation has no such column
        values = np.stack([run.history.get(column, nothing)[:length] for run in self.runs])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(length)
        return self.runs[0].history["epoch"][:length] + 1, values.mean(axis=0), spread


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """Read all finished runs in or below the ``paths``; return them, and a sentence for each run that was left out.

    Raises:
        UserError: if a path is not there, or no finished run is in any of them.
    """
    runs, notes, seen = [], [], set()
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: name run folders, or a multirun's folder.")
        files = sorted([*path.rglob("result.json"), *linked_runs(path, notes)])
        if not files:
            raise UserError(" ".join([f"{path} holds no run: a run's folder has a result.json in it.", *notes]))
        for file in files:
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            try:
                run = read_run(file.parent)
            except (
                Exception
            ) as error:  # a damaged file may be wrong in any way; the other runs are still to be compared
                notes.append(f"{file.parent} is left out: its files can't be read ({type(error).__name__}: {error}).")
                continue
            status, why = run.result["status"], str(run.result.get("error") or "").partition("\n")[0]
            if "heads" in run.result and status in ("finished", "diverged"):
                continue  # a folder of many heads, each of which is a run below it
            if status == "finished":
                runs.append(run)
            elif status == "diverged":
                of = f"{run.config['strategy.name']} with seed {run.config['seed']}"
                notes.append(f"{file.parent} diverged and is in no row and no mean ({of}): {why}")
            else:
                notes.append(f"{file.parent} is left out: its status is '{status}'{why and f': {why}'}")
    if not runs:
        raise UserError(" ".join(["None of these runs is finished, so there is nothing to compare.", *notes]))
    return runs, notes


def linked_runs(path: Path, notes: list[str]) -> Iterator[Path]:
    """Records of runs that a sweep below ``path`` did not make again, since they were there; a note where one is gone."""
    for note in sorted(path.rglob(ELSEWHERE)):
        try:
            folder = note.parent / json.loads(note.read_text())["run"]
        except (OSError, ValueError, KeyError, TypeError):
            notes.append(f"{note} can't be read, so the run that it stands for is missing.")
            continue
        if not (folder / "result.json").is_file():
            notes.append(f"{note.parent} stands for the run in {folder.resolve()}, which is not there any more.")
        yield from folder.rglob("result.json")


def read_run(folder: Path) -> Run:
    """Read one run's folder."""
    result = json.loads((folder / "result.json").read_text())
    if why := divergence_reason(result):
        result |= {"status": "diverged", "error": why}
    config = flatten(yaml.safe_load((folder / "config.yaml").read_text()))
    if "weights_fingerprint" in result:  # a file of the same name may have had another content
        name, content = Path(str(config.get("backbone.weights"))).name, result["weights_fingerprint"]
        config["backbone.weights"] = content if content == "random" else f"{name}@{content}"
    history: dict[str, np.ndarray] = {}
    if result["status"] == "finished" and "heads" not in result:
        if result["epochs"]:
            with open(folder / "history.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            history = {column: np.array([float(row[column] or "nan") for row in rows]) for column in rows[0]}
        for needed in (
            config["strategy.name"],
            result["seed"],
            result["learning_rates"],
            result["parameters"]["total"],
        ):
            if needed is None:
                raise ValueError("result.json is not complete")
        for split in ("val", "test"):
            result[split] = {name: np.nan if value is None else float(value) for name, value in result[split].items()}
    return Run(folder, config, result, history)


def group_runs(runs: Sequence[Run]) -> tuple[list[RunGroup], list[str]]:
    """Put repetitions together; return the groups, and a sentence for each run that repeats a seed.

    Of several runs with one config and one seed the newest is taken: counting it twice would make seeds look alike.
    """
    found: dict[str, dict[int, Run]] = {}
    notes = []
    for run in sorted(runs, key=lambda run: (run.folder / "result.json").stat().st_mtime):
        key = json.dumps({k: v for k, v in run.config.items() if k not in IRRELEVANT}, sort_keys=True)
        seeds = found.setdefault(key, {})
        seed = run.result["seed"]
        if seed in seeds:
            notes.append(
                f"{seeds[seed].folder} is left out: {run.folder} has the same settings and seed, and is newer."
            )
        seeds[seed] = run
    groups = [[seeds[seed] for seed in sorted(seeds)] for seeds in found.values()]
    named = [RunGroup(label, tuple(runs)) for label, runs in zip(labels(groups), groups, strict=True)]
    if shared := [g.label for g in named if len(g.runs) > 1 and g.runs[0].config.get("cache.view_seed") is not None]:
        notes.append(
            f"The seeds of {', '.join(shared) if len(shared) < 4 else f'{len(shared)} settings'} share their crops and flips (cache.view_seed), so their spread is less than "
            "that of runs with crops of their own."
        )
    return named, notes


def labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Name each group for its strategy, and for the settings in which it differs from a group it could be taken for."""
    configs = [runs[0].config for runs in groups]
    names = []
    for config in configs:
        namesakes = [other for other in configs if other["strategy.name"] == config["strategy.name"]]
        settings = []
        for key in sorted(config):
            # Strategies differ in their tables by nature; what sets namesakes apart is worth telling. One that begins with
            # random weights does so by nature too.
            others = namesakes if key.startswith("strategy.") else configs
            if key == "backbone.weights":
                others = [other for other in configs if other.get("strategy.weights") == config.get("strategy.weights")]
            if key not in IRRELEVANT and any(other.get(key) != config[key] for other in others):
                settings.append(f"{key.removeprefix('strategy.')}={config[key]}")
        names.append(" ".join([config["strategy.name"], *settings]))
    return names


def percent(shares: np.ndarray) -> str:
    text = mean_and_spread(100 * shares, 1)
    return text if text == "-" else f"{text} %"


def mean_and_spread(values: np.ndarray, digits: int) -> str:
    """``mean ± standard deviation`` (of the sample, n - 1), the one value, or a dash where one was not measured."""
    if np.isnan(values).any():
        return "-"
    text = f"{values.mean():.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {values.std(ddof=1):.{digits}f}"

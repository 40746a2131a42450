"""Load runs from their folders, group those that differ only by seed, and label the groups."""

import csv
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.config.keys import KEYS_WITHOUT_EFFECT, flatten
from flowers_tl.data.cached.content_hash import fingerprint_split
from flowers_tl.data.splits import ImageSplit
from flowers_tl.results.predictions import UNREADABLE, Predictions, SplitPredictions
from flowers_tl.results.scores import METRICS, Metric
from flowers_tl.runs.read_record import ELSEWHERE, KINDS, follow_link, read_mapping, read_text
from flowers_tl.runs.record import divergence_reason, read_config
from flowers_tl.utils.errors import UserError, shorten

# What a result does not depend on: runs that differ in these alone are repetitions of one another.
KEYS_IGNORED_IN_GROUPS = ("seed", *KEYS_WITHOUT_EFFECT)
# More than any run's: the report has a line for each.
MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class Run:
    """The content of a run's folder: flat config (dotted keys), result, and history (column -> values)."""

    folder: Path
    config: dict[str, Any]
    result: dict[str, Any]
    history: dict[str, np.ndarray]

    def predictions(self) -> Predictions | None:
        """Its predictions by image; None if it has left none."""
        return Predictions.read(self.folder)

    def find_images(self, test: SplitPredictions, root: Path | None = None) -> Path | None:
        """The folder below which the very images of its test lie: ``root``, or the one that the record names; else None."""
        if (folder := root or self.result.get("data", {}).get("root")) is None:
            return None
        images = ImageSplit([Path(folder, image) for image in test.images], test.labels.tolist(), [])
        with suppress(OSError, ValueError, UserError):
            if all(file.is_file() for file in images.files) and are_recorded(self.result, "test", images, Path(folder)):
                return Path(folder)
        return None


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs that differ only by seed, under the shortest label that tells them from the other groups."""

    label: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> list[int]:
        return [run.result["seed"] for run in self.runs]

    @property
    def trainable(self) -> int:
        """Trainable parameters; :attr:`total` are all parameters."""
        return self.runs[0].result["parameters"]["trainable"]

    @property
    def total(self) -> int:
        return self.runs[0].result["parameters"]["total"]

    def values(self, *path: str) -> np.ndarray:
        """One number per run, at ``path`` in its result; NaN where an earlier version recorded none."""
        parts: list[Any] = [run.result for run in self.runs]
        for key in path:
            parts = [part.get(key) if isinstance(part, dict) else None for part in parts]
        return np.array(parts, dtype=float)

    def val_scores(self, metric: Metric) -> np.ndarray:
        """A metric of the val images, one number per run: as recorded, else of the kept predictions, else NaN."""
        values = self.values("val", metric.name)
        for number in np.flatnonzero(np.isnan(values)):
            with suppress(*UNREADABLE):
                kept = self.runs[number].predictions()
                if kept and (val := kept.splits.get("val")):
                    values[number] = metric.function(val.logits, val.labels)
        return values


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """Load all finished runs in or below the ``paths``; return them, and a sentence for each run that is left out.

    Raises:
        UserError: if a path is not a folder, or no finished run is in any of them.
    """
    runs: list[Run] = []
    notes: list[str] = []
    files: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: give folders of runs, or of a sweep.")
        records = sorted([*path.rglob("result.json"), *linked_runs(path, notes)])
        if not records:
            raise UserError(" ".join([f"{path} holds no run (a result.json): give the folder of one.", *notes]))
        for file in records:
            files.setdefault(file.resolve(), file)
    for file in files.values():
        try:
            run = read_run(file.parent)
        # A damaged file may be wrong in any way; the other runs are still to be compared.
        except Exception as error:
            notes.append(f"{file.parent} is left out: its files can't be read ({type(error).__name__}: {error}).")
            continue
        status, why = run.result["status"], str(run.result.get("error") or "").partition("\n")[0]
        # A folder of many heads is no run: each head is a run below it.
        if "heads" in run.result and status in ("finished", "diverged"):
            continue
        if status == "finished":
            runs.append(run)
        elif status == "diverged":
            name = f"{run.config['strategy.name']} with seed {run.config.get('seed')}"
            notes.append(f"{file.parent} diverged and is left out of rows and means ({name}): {why}")
        else:
            notes.append(f"{file.parent} is left out: its status is '{status}'{why and f': {why}'}")
    if not runs:
        raise UserError(" ".join(["None of these runs is finished: finish one, or give another.", *notes]))
    return runs, notes


def linked_runs(path: Path, notes: list[str]) -> Iterator[Path]:
    """Records of finished runs that a sweep below ``path`` links to instead of running them again; ``notes`` get missing ones."""
    for link in sorted(path.rglob(ELSEWHERE)):
        try:
            folder = follow_link(link.parent)
        except UserError as error:
            notes.append(str(error))
            continue
        if not (folder / "result.json").is_file():
            notes.append(f"{link.parent} links to the run in {folder.resolve()}, which is not there any more.")
            continue
        # Those of many heads lie below it.
        yield from [folder / "result.json", *folder.glob("*/result.json")]


def read_run(folder: Path) -> Run:
    """Read one run's folder. Raises ValueError or another exception where a file of it is not a run's."""
    result = read_mapping(folder / "result.json", KINDS)
    result = {key: value for key, value in result.items() if value is not None or KINDS.get(key) is not dict}
    if why := divergence_reason(result):
        result |= {"status": "diverged", "error": why}
    config = flatten(read_config(folder))
    if not isinstance(config["strategy.name"], str):
        raise ValueError("config.yaml names no strategy")
    # A file of the same name may have had other content.
    if "weights_fingerprint" in result:
        name, content = Path(str(config.get("backbone.weights"))).name, result["weights_fingerprint"]
        config["backbone.weights"] = content if content == "random" else f"{name}@{content}"
    history: dict[str, np.ndarray] = {}
    if result["status"] == "finished" and "heads" not in result:
        if result["epochs"]:
            rows = list(csv.DictReader(read_text(folder / "history.csv").splitlines()))
            history = {column: np.array([float(row[column] or "nan") for row in rows]) for column in rows[0]}
            if not (np.diff(history["epoch"], prepend=-1, append=MOST_EPOCHS) > 0).all():
                raise ValueError("history.csv has epochs that do not follow one another")
        validate_complete(result)
        for split in ("val", "test"):
            result[split] = {name: np.nan if value is None else float(value) for name, value in result[split].items()}
    return Run(folder, config, result, history)


def are_recorded(result: Mapping[str, Any], split: str, images: ImageSplit, root: Path) -> bool:
    """Whether these images below ``root`` are the very ones that a run's record has as this split.

    A stranger's record may name any file of this machine, but does not know its content.
    """
    recorded = result.get("protocol", {}).get("splits", {}).get(split)
    return recorded is not None and fingerprint_split(images, root) == recorded


def validate_complete(result: Mapping[str, Any]) -> None:
    """Raise KeyError or ValueError if a finished run's record lacks what every one has."""
    parameters, protocol = result["parameters"], result.get("protocol", {"name": "", "metric": "", "splits": {}})
    named = [result["seed"], *result["learning_rates"].values(), parameters["trainable"]]
    if None in [*named, protocol["name"], protocol["metric"], protocol["splits"]] or not parameters["total"]:
        raise ValueError("result.json is not complete")
    shares = [value for split in ("val", "test") for name, value in result[split].items() if name != "loss"]
    if any(value is not None and (value < 0 or value > 1) for value in shares):
        raise ValueError("result.json has a score that is not within 0 and 1")


def keep_newest(
    runs: Iterable[Run], ignored: Container[str], number: Callable[[Run], int], what: str
) -> tuple[list[list[Run]], list[str]]:
    """Put runs with the same settings together, but for the keys that are ``ignored``, in the order of their numbers.

    Of several runs with the same settings and number the newest is kept, and a sentence says so; ``what`` is the same in these.
    Counting one twice would make seeds look alike.
    """
    groups: dict[str, dict[int, Run]] = {}
    notes = []
    for run in sorted(runs, key=lambda run: (run.folder / "result.json").stat().st_mtime):
        settings = {key: value for key, value in run.config.items() if key not in ignored}
        members = groups.setdefault(json.dumps(settings, sort_keys=True), {})
        if earlier := members.get(number(run)):
            notes.append(f"{earlier.folder} is left out: {run.folder} has the same {what}, and is newer.")
        members[number(run)] = run
    return [[members[k] for k in sorted(members)] for members in groups.values()], notes


def group_runs(runs: Sequence[Run], metric: Metric = METRICS[0]) -> tuple[list[RunGroup], list[str]]:
    """Put repetitions together; return the groups, the best by ``metric`` first, and what to know of them in sentences."""
    members, notes = keep_newest(runs, KEYS_IGNORED_IN_GROUPS, lambda run: run.result["seed"], "settings and seed")
    groups = [RunGroup(label, tuple(of)) for label, of in zip(label_groups(members), members, strict=True)]
    ways = {json.dumps((run.result.get("protocol") or {}).get("preprocessing"), sort_keys=True) for run in runs}
    if len(ways) > 1:
        notes.append(
            f"These runs prepare images in {len(ways)} ways (backbone.preprocessing, data.fit), which may be a part of their "
            "differences."
        )
    if shared := [g.label for g in groups if len(g.runs) > 1 and g.runs[0].config.get("cache.view_seed") is not None]:
        notes.append(
            f"The seeds of {shorten(shared)} share their crops and flips (cache.view_seed), so their deviation is less than that of "
            "runs with different crops."
        )
    return sorted(groups, key=lambda group: rank(group, metric)), notes


def rank(group: RunGroup, metric: Metric) -> tuple[float, ...]:
    """Sort key: the metric of the val images; of equals the one with fewer trainable parameters, then the faster one."""
    seconds = group.values("seconds", "total").mean()
    keys = (-metric.sign * group.val_scores(metric).mean(), group.trainable, seconds)
    return tuple(np.inf if np.isnan(key) else key for key in keys)


def label_groups(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Label each group by its strategy, and by the settings that tell it from other groups of the same name."""
    configs = [runs[0].config for runs in groups]
    labels = []
    for config in configs:
        same_name = [other for other in configs if other["strategy.name"] == config["strategy.name"]]
        settings = []
        for key in sorted(config):
            # Other strategies have other tables, and from_scratch other weights: that needs no mention.
            others = same_name if key.startswith("strategy.") else configs
            if key == "backbone.weights":
                others = [other for other in configs if other.get("strategy.weights") == config.get("strategy.weights")]
            if key not in KEYS_IGNORED_IN_GROUPS and any(other.get(key) != config[key] for other in others):
                settings.append(f"{key.removeprefix('strategy.')}={config[key]}")
        labels.append(" ".join([config["strategy.name"], *settings]))
    return labels

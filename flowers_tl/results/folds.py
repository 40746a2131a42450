"""Cross-validation: the folds of a seed as one run, which has answered every image once."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.config.keys import KEYS_WITHOUT_EFFECT
from flowers_tl.data.splits import SPLITS
from flowers_tl.results.load_runs import Run
from flowers_tl.results.predictions import Predictions, SplitPredictions, join

WHAT_FOLDS_MEAN = (
    "Rows with data.folds join the folds of a seed: each test image was answered once, by a network that was trained without its "
    "fold. The networks of a seed share most of their training images, so their errors are not independent, and no estimate of the "
    "variance over new training sets is without bias (Bengio and Grandvalet 2004): the intervals are about these training sets, and "
    "too narrow for new ones. Validation accuracy is the mean over the folds."
)


@dataclass(frozen=True)
class JoinedRun(Run):
    """The ``parts``, one a fold, as one run whose test images are those of all."""

    parts: tuple[Run, ...] = ()

    def predictions(self) -> Predictions | None:
        """For the test images of all folds, in the order of their names; None if a fold has left none."""
        every = [part.predictions() for part in self.parts]
        known = [one for one in every if one is not None and "test" in one.splits]
        if len(known) < len(every):
            return None
        if any(one.class_names != known[0].class_names for one in known):
            raise ValueError("its folds have different classes")
        whole = join([one.splits["test"] for one in known])
        order = np.argsort(whole.images, kind="stable")
        images = [whole.images[k] for k in order]
        return Predictions(
            known[0].class_names, {"test": SplitPredictions(whole.logits[order], whole.labels[order], images)}
        )

    def find_images(self, test: SplitPredictions, root: Path | None = None) -> Path | None:
        places = {part.find_images(one.splits["test"], root) for part in self.parts if (one := part.predictions())}
        return places.pop() if len(places) == 1 else None


def join_folds(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Put a joined run in the place of the folds of each setting and seed, where all folds are there; and what to know of it.

    Folds of which one is lacking stay single runs, which were tested on different images.
    """
    sets: dict[str, dict[int, Run]] = {}
    notes, left_out = [], set()
    for run in sorted(runs, key=lambda run: (run.folder / "result.json").stat().st_mtime):
        if run.config.get("data.folds"):
            same = {key: value for key, value in run.config.items() if key not in ("data.fold", *KEYS_WITHOUT_EFFECT)}
            of = sets.setdefault(json.dumps([same, run.result["seed"]], sort_keys=True), {})
            if earlier := of.get(fold := run.config["data.fold"]):
                left_out.add(earlier.folder)
                notes.append(
                    f"{earlier.folder} is left out: {run.folder} has the same settings, seed and fold, and is newer."
                )
            of[fold] = run
    whole = [of for of in sets.values() if len(of) == next(iter(of.values())).config["data.folds"]]
    left_out |= {run.folder for of in whole for run in of.values()}
    joined = [join_runs([of[fold] for fold in sorted(of)]) for of in whole]
    return [*(run for run in runs if run.folder not in left_out), *joined], [*notes, *[WHAT_FOLDS_MEAN] * bool(joined)]


def join_runs(parts: Sequence[Run]) -> JoinedRun:
    """One run of all folds of a setting and seed, in their order: test scores over all images, time and FLOPs of all together."""
    first, results = parts[0], [part.result for part in parts]
    sizes = [result.get("data", {}) for result in results]
    data = {
        split: round(mean([size.get(split) for size in sizes]))
        for split in SPLITS
        if all(split in size for size in sizes)
    }
    weights = [float(size.get("test") or 1) for size in sizes]
    if "test" in data:
        data["test"] = sum(size["test"] for size in sizes)
    protocol = dict(first.result.get("protocol") or {})
    for split in protocol.get("splits", {}):
        every = " ".join(str(result["protocol"]["splits"].get(split)) for result in results)
        protocol["splits"] = protocol["splits"] | {split: hashlib.sha256(every.encode()).hexdigest()[:16]}
    result: dict[str, Any] = {
        **first.result,
        "epochs": round(mean([one["epochs"] for one in results])),
        "val": {name: mean([one["val"].get(name) for one in results]) for name in first.result["val"]},
        "test": {name: mean([one["test"].get(name) for one in results], weights) for name in first.result["test"]},
        "data": first.result.get("data", {}) | data,
        "seconds": total([one.get("seconds") or {} for one in results]),
        "flops": total([one.get("flops") or {} for one in results]),
        "peak_memory_gb": float(np.max(np.array([one.get("peak_memory_gb") for one in results], dtype=float))),
    }
    # Each fold has the same network, and an image is predicted once.
    if "forward" in result["flops"]:
        result["flops"]["forward"] = first.result["flops"]["forward"]
    if protocol:
        result["protocol"] = protocol
    epochs = min(len(part.history.get("epoch", ())) for part in parts)
    shared = set.intersection(*(set(part.history) for part in parts))
    history = {
        column: np.mean([part.history[column][:epochs] for part in parts], axis=0)
        for column in first.history
        if column in shared
    }
    config = {key: value for key, value in first.config.items() if key != "data.fold"}
    return JoinedRun(first.folder, config, result, history, tuple(parts))


def mean(values: Sequence[Any], weights: Sequence[float] | None = None) -> float:
    """NaN where one was not measured."""
    return float(np.average(np.array(values, dtype=float), weights=weights))


def total(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of each number by its name; of what one lacks there is none."""
    first, *others = counts
    return {
        name: value + sum(one[name] for one in others)
        for name, value in first.items()
        if all(name in one for one in others)
    }

"""Cross-validation: the folds of a seed as one run, which has answered every image once."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.config.keys import KEYS_WITHOUT_EFFECT
from flowers_tl.data.splits import SPLITS
from flowers_tl.results.load_runs import Run, RunGroup, keep_newest
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
    cut = [run for run in runs if run.config.get("data.folds")]
    ignored = ("data.fold", *KEYS_WITHOUT_EFFECT)
    groups, notes = keep_newest(cut, ignored, lambda run: run.config["data.fold"], "settings, seed and fold")
    joined, single = [], [run for run in runs if not run.config.get("data.folds")]
    for parts in groups:
        if len(parts) == parts[0].config["data.folds"]:
            joined.append(join_runs(parts))
        else:
            single += parts
    return [*single, *joined], [*notes, *[WHAT_FOLDS_MEAN] * bool(joined)]


def join_runs(parts: Sequence[Run]) -> JoinedRun:
    """One run of all folds of a setting and seed, in their order: test scores over all images, time and FLOPs of all together."""
    first, group = parts[0], RunGroup("", tuple(parts))
    sizes = {split: group.values("data", split) for split in SPLITS}
    data = {split: round(size.mean()) for split, size in sizes.items() if np.isfinite(size).all()}
    weights = np.where(sizes["test"] > 0, sizes["test"], 1)
    if "test" in data:
        data["test"] = int(sizes["test"].sum())
    result: dict[str, Any] = {
        **first.result,
        "epochs": round(group.values("epochs").mean()),
        "val": {name: float(group.values("val", name).mean()) for name in first.result["val"]},
        "test": {name: float(np.average(group.values("test", name), weights=weights)) for name in first.result["test"]},
        "data": first.result.get("data", {}) | data,
        "seconds": total([part.result.get("seconds") or {} for part in parts]),
        "flops": total([part.result.get("flops") or {} for part in parts]),
        "peak_memory_gb": float(group.values("peak_memory_gb").max()),
    }
    # Each fold has the same network, and an image is predicted once.
    if "forward" in result["flops"]:
        result["flops"]["forward"] = first.result["flops"]["forward"]
    if protocol := first.result.get("protocol"):
        splits = {}
        for split in protocol.get("splits", {}):
            every = " ".join(str(part.result["protocol"]["splits"].get(split)) for part in parts)
            splits[split] = hashlib.sha256(every.encode()).hexdigest()[:16]
        result["protocol"] = protocol | {"splits": splits}
    epochs = min(len(part.history.get("epoch", ())) for part in parts)
    history = {
        column: np.mean([part.history[column][:epochs] for part in parts], axis=0)
        for column in first.history
        if all(column in part.history for part in parts)
    }
    config = {key: value for key, value in first.config.items() if key != "data.fold"}
    return JoinedRun(first.folder, config, result, history, tuple(parts))


def total(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of each number by its name; of what one lacks there is none."""
    first, *others = counts
    return {
        name: value + sum(one[name] for one in others)
        for name, value in first.items()
        if all(name in one for one in others)
    }

"""Which runs may be compared: those that were trained, selected and tested on the same images, in the same way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowers_tl.data.splits import SPLITS
from flowers_tl.results.load_runs import KEYS_IGNORED_IN_GROUPS, Run
from flowers_tl.results.predictions import UNREADABLE, Predictions
from flowers_tl.utils.errors import UserError, shorten


def by_protocol(runs: Sequence[Run], allow_mixed: bool = False) -> list[tuple[str, list[Run]]]:
    """Group runs by protocol, the largest group first, each with words that tell it from the first.

    Raises:
        UserError: if there is more than one protocol, unless ``allow_mixed``; it says in what they differ.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        protocol = run.result.get("protocol")
        # Networks that prepare the same images in unlike ways are compared; group_runs says so.
        protocol = protocol and {key: value for key, value in protocol.items() if key != "preprocessing"}
        groups.setdefault(json.dumps(protocol, sort_keys=True), []).append(run)
    first, *others = sorted(groups.values(), key=len, reverse=True)
    name = describe_protocol(first[0])
    named = [(difference(first[0], group[0]), group) for group in others]
    if named and not allow_mixed:
        differences = "; ".join(f"{shorten([run.folder.name for run in group])}: {words}" for words, group in named)
        raise UserError(
            f"These runs can't be compared: {len(first)} {'is' if len(first) == 1 else 'are'} measured with {name}, but "
            f"{differences}: compare them separately, or show them in separate tables with allow_mixed=true."
        )
    return [(name, first), *named]


def load_predictions(run: Run, notes: list[str]) -> Predictions | None:
    """A run's predictions. A damaged file gives None and a note: the other runs are still to be compared."""
    try:
        return run.predictions()
    except UNREADABLE as error:
        notes.append(f"predictions.npz of {run.folder.name} can't be read ({type(error).__name__}).")
        return None


def validate_same_images(runs: Sequence[Run], predictions: Sequence[Predictions | None]) -> None:
    """Raise UserError if a run has other classes, or other val or test images, than the runs before it."""
    known: dict[str, tuple[Any, Run]] = {}
    for run, of_run in zip(runs, predictions, strict=True):
        facts: dict[str, Any] = {}
        for name in ("val", "test"):
            if (count := run.result.get("data", {}).get(name)) is not None:
                facts[f"numbers of {name} images"] = count
        if of_run is not None:
            facts["classes"] = of_run.class_names
            for name, split in of_run.splits.items():
                facts |= {f"{name} images": split.images, f"labels of the {name} images": split.labels.tolist()}
        for what, value in facts.items():
            first_value, first = known.setdefault(what, (value, run))
            if value != first_value:
                raise UserError(
                    f"{first.folder} and {run.folder} have different {what}, so one report can't compare them: "
                    "compare only runs of the same data and classes."
                )


def describe_protocol(run: Run) -> str:
    """The protocol of a run in a few words; one that ``data.limit`` cuts is a subset."""
    protocol, limit = run.result.get("protocol"), run.config.get("data.limit")
    if protocol is None:
        return "no recorded protocol"
    sizes = [size for split in SPLITS if (size := run.result.get("data", {}).get(split)) is not None]
    cut = isinstance(limit, int) and limit <= max(sizes, default=0)
    subset = f"a subset (data.limit={limit}) of " if cut else ""
    without = f" without {excluded:,} images" if (excluded := protocol.get("excluded")) else ""
    return f"{subset}{describe_splits(run)}{without}"


def describe_splits(run: Run) -> str:
    """Where train, val and test come from: official splits, those of the user's folders, or some that are cut out of train."""
    data, seed = run.result.get("data", {}), run.config.get("data.split_seed")
    if (name := run.result["protocol"]["name"]) != "official":
        return f"the {name} protocol"
    if data.get("name") == "synthetic":
        return "images drawn by the program"
    if folds := run.config.get("data.folds"):
        return f"{folds} folds of all images (data.split_seed={seed})"
    if cut := data.get("cut"):
        return f"{' and '.join(split for split in SPLITS if split in cut)} cut out of train (data.split_seed={seed})"
    # Runs of earlier versions do not say whether splits were cut.
    if seed is not None and "cut" not in data:
        return "the splits on record"
    return "the data's own splits" if data.get("name") in ("folder", "manifest") else "the official splits"


def split_sizes(data: Mapping[str, Any]) -> str:
    """How many images each split has, of those that are on record."""
    return ", ".join(f"{data[split]:,} {split}" for split in SPLITS if split in data)


def fingerprints(protocol: Mapping[str, Any]) -> str:
    """The fingerprints of a protocol's images, split by split."""
    return ", ".join(f"{split} {value}" for split, value in protocol.get("splits", {}).items())


def difference(run: Run, other_run: Run) -> str:
    """In what the protocol of ``other_run`` differs from that of ``run``."""
    first, other = (one.result.get("protocol") for one in (run, other_run))
    if first is None or other is None or first["name"] != other["name"]:
        return describe_protocol(other_run)
    splits = [split for split, fingerprint in other["splits"].items() if first["splits"].get(split) != fingerprint]
    differences = [f"other {split} images" for split in splits]
    if first["metric"] != other["metric"]:
        differences.append(f"another metric ({other['metric']})")
    settings = [
        f"{key}={value}"
        for key, value in other_run.config.items()
        if key.startswith("data.") and key not in KEYS_IGNORED_IN_GROUPS and run.config.get(key) != value
    ]
    return (" and ".join(differences) or "another protocol") + (f" ({', '.join(settings)})" if settings else "")

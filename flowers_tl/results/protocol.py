"""Which runs may stand side by side: those that learned from, chose by and were tested on the same images, in the same way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowers_tl.results.load_runs import IRRELEVANT, Run
from flowers_tl.utils.errors import UserError, shorten


def by_protocol(runs: Sequence[Run], allow_mixed: bool = False) -> list[tuple[str, list[Run]]]:
    """Put runs of one protocol together, the most numerous first, each part under words that tell it from the first.

    Raises:
        UserError: if there is more than one protocol, unless ``allow_mixed``; it says in what they differ.
    """
    parts: dict[str, list[Run]] = {}
    for run in runs:
        parts.setdefault(json.dumps(run.result.get("protocol"), sort_keys=True), []).append(run)
    ordered = sorted(parts.values(), key=len, reverse=True)
    first = ordered[0][0]
    named = [(describe(first.result.get("protocol")), ordered[0])]
    named += [(difference(first, part[0]), part) for part in ordered[1:]]
    if len(named) > 1 and not allow_mixed:
        others = "; ".join(f"{shorten([run.folder.name for run in part])}: {words}" for words, part in named[1:])
        raise UserError(
            f"These runs can't be put side by side: {len(ordered[0])} {'is' if len(ordered[0]) == 1 else 'are'} measured under {named[0][0]}, but {others}. "
            "Compare them apart, or see them in tables of their own with allow_mixed=true."
        )
    return named


def describe(protocol: Mapping[str, Any] | None) -> str:
    """A protocol in a few words."""
    return "no recorded protocol" if protocol is None else f"the {protocol['name']} protocol"


def difference(run: Run, unlike_run: Run) -> str:
    """In what a run's protocol differs from the first one's."""
    first, other = (one.result.get("protocol") for one in (run, unlike_run))
    if first is None or other is None or first["name"] != other["name"]:
        return describe(other)
    unlike = [f"other {split} images" for split, own in other["splits"].items() if first["splits"].get(split) != own]
    if first["metric"] != other["metric"]:
        unlike.append(f"another metric ({other['metric']})")
    settings = [
        f"{key}={value}"
        for key, value in unlike_run.config.items()
        if key.startswith("data.") and key not in IRRELEVANT and run.config.get(key) != value
    ]
    return (" and ".join(unlike) or "another protocol") + (f" ({', '.join(settings)})" if settings else "")

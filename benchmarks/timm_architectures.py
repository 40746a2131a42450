"""Count how many of timm's architectures are cut into stages that are the whole network, bit for bit.

``python -m benchmarks.timm_architectures``: networks of fewer than 300 million parameters are built with random weights, and
their stages one after another are compared with the network (:func:`flowers_tl.models.cut.check_cut`). Larger ones are cut
on the device ``meta``, by shapes and gradients, and counted apart.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowers_tl.cli.options import command
from flowers_tl.models.cut import check_cut
from flowers_tl.models.timm_networks import PREFIX, build_network, cut_network, find_values, library
from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.files import atomic_write, dumps

LARGE = 300e6
# Sides that are tried before that of the weights: small images are quicker, and show the same.
SIDES = (64, 96, 224)


@dataclass(kw_only=True)
class ArchitectureOptions:
    """Cut timm's architectures into stages, compare the stages with the whole networks, and print how many are equal."""

    out: Path = Path("outputs/timm_architectures.json")
    """The JSON file; the same command continues with what is there."""
    seconds: float = 1e9
    """Begin no further network after so many seconds."""
    match: str = ""
    """Only architectures whose names contain this."""
    table: bool = False
    """true: only print the table of what was measured."""


def measure(name: str) -> dict[str, Any]:
    """What becomes of an architecture: ``result`` (equal, shapes, refused), ``parameters``, ``side``, ``stages``, ``reason``."""
    backbone = PREFIX + name
    side = find_values(backbone, None)["crop"]
    with torch.device("meta"):
        network, _ = build_network(backbone, 10, side)
    row: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    try:
        found, side = cut_smallest(backbone, side)
        row |= {"side": side, "stages": len(found.points) + 1}
        if row["parameters"] >= LARGE:
            return row | {"result": "shapes"}
        check_cut(build_network(backbone, 10, side, **found.arguments)[0], found)
        return row | {"result": "equal"}
    except UserError as error:
        return row | {"result": "refused", "reason": first_line(error)}


def cut_smallest(backbone: str, side: int) -> tuple[Any, int]:
    """The cut at the smallest side that the network takes."""
    for smaller in (one for one in SIDES if one < side):
        try:
            return cut_network(backbone, smaller), smaller
        except UserError as error:
            if "does not fit" not in str(error):
                raise
    return cut_network(backbone, side), side


def shuffled(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@command(resume=lambda options: "; the same command continues")
def main(options: ArchitectureOptions) -> None:
    """Measure one architecture after the other, and write the JSON after each."""
    rows = json.loads(options.out.read_text()) if options.out.is_file() else {}
    names, began = library(PREFIX).list_models(), time.monotonic()
    # In an order without favour, so that a part of them stands for all.
    for name in () if options.table else sorted(names, key=shuffled):
        if options.match not in name or name in rows:
            continue
        if time.monotonic() - began > options.seconds:
            break
        try:
            rows[name] = measure(name)
        # An architecture that fails otherwise is one that does not work.
        except Exception as error:
            rows[name] = {"result": "failed", "reason": f"{type(error).__name__}: {first_line(error)}"}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(options.out) as beside:
            beside.write_text(dumps(dict(sorted(rows.items())), indent=1) + "\n", encoding="utf-8")
        print(name, rows[name]["result"], rows[name].get("reason", ""), flush=True)
    print("\n".join(table(rows, len(names))))


def table(rows: dict[str, dict[str, Any]], names: int) -> Iterable[str]:
    """The counts in Markdown, and each failure with its reason."""
    large = {name for name, row in rows.items() if row.get("parameters", 0) >= LARGE}
    yield "| architectures | measured | equal or shapes right | share |"
    yield "|---|---|---|---|"
    for title, group in (("under 300 M parameters", rows.keys() - large), ("larger, by shapes", large)):
        good = sum(rows[name]["result"] in ("equal", "shapes") for name in group)
        yield f"| {title} | {len(group):,} | {good:,} | {good / max(1, len(group)):.1%} |"
    yield f"\n{len(rows):,} of {names:,} architectures were measured.\n"
    reasons = Counter(
        row.get("reason", "").partition("(")[2] or row["reason"] for row in rows.values() if "reason" in row
    )
    for reason, count in reasons.most_common():
        members = sorted(n for n, row in rows.items() if reason in row.get("reason", ""))
        yield f"- {count}: {reason.rstrip('.')} ({', '.join(members)})"


if __name__ == "__main__":
    main()

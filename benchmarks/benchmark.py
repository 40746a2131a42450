"""Measure whole commands on this machine against the plain loop: ``python -m benchmarks.benchmark``."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from flowers_tl.cli.options import Positional, command, is_override
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import dumps, new_folder

STRATEGIES = ("feature_extraction", "fine_tuning")
# What the plain loop does not obey: with it two recipes would be compared.
NO_PART = (
    "strategy", "optimizer", "scheduler", "regularisation", "heads", "experiment", "sweep", "ckpt_path", "test_best",
    "data.augmentation", "data.balance", "data.protocol",
)  # fmt: skip


@dataclass(kw_only=True)
class BenchmarkOptions:
    """Measure whole commands, each from its start to its exit and with an empty cache, against a plain loop that does what
    the article's notebook does; print the ratios, and keep all that was measured."""

    strategies: str = ",".join(STRATEGIES)
    """Which strategies, separated by a comma."""
    repeats: int = 1
    """Measure all so many times, every second time backwards."""
    sweep: int = 20
    """Also so many learning rates of feature_extraction as a multirun, and as heads of one run; 0: neither."""
    folder: Path | None = None
    """Where what is measured is kept: a new folder, or an interrupted benchmark's, which goes on; default: in outputs."""
    overrides: Annotated[list[str], Positional("[KEY=VALUE...]", is_override())] = field(default_factory=list)
    """What train takes: backbone=..., data.limit=..., trainer.max_epochs=..."""


@command(resume=lambda options: f"; folder={options.folder} with the same options goes on with what was measured")
def main(options: BenchmarkOptions) -> None:
    """Measure what the options say; write benchmark.json as it comes, and benchmark.md."""
    names = list(dict.fromkeys(options.strategies.split(",")))
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise UserError(f"'{unknown[0]}' is none of {', '.join(STRATEGIES)}.")
    if options.repeats < 1 or options.sweep < 0 or options.sweep == 1:
        raise UserError("repeats must be at least 1, and sweep 0 or at least 2.")
    if idle := [word for word in options.overrides if has_no_part(word)]:
        raise UserError(f"{idle[0]} has no part in a benchmark: the plain loop does not know it; leave it out.")
    asked = {"strategies": names, "repeats": options.repeats, "sweep": options.sweep, "overrides": options.overrides}
    kept = begin(asked, options.folder)
    read_once(options.overrides)
    options.folder = options.folder or new_folder("benchmark")
    measure_all(kept, options.folder)


def has_no_part(override: str) -> bool:
    """Whether the plain loop would not do what the override says; how a step is computed is each one's own."""
    key = override.partition("=")[0].lstrip("+~")
    return key != "optimizer.fused" and any(key == name or key.startswith(f"{name}.") for name in NO_PART)


def measure_all(kept: dict[str, Any], folder: Path) -> None:
    """Measure what :func:`begin` says is asked for and was not measured yet; add it to ``kept`` and write it.

    Raises:
        UserError: if a command fails; what was measured until then is kept.
    """
    from benchmarks.measure import Bench
    from benchmarks.speed_table import print_speed, to_markdown

    folder.mkdir(parents=True, exist_ok=True)
    # What is written from here on is this benchmark's own: `begin` has refused a folder that holds anything else.
    bench = Bench(folder, kept["overrides"])
    plan = [job for strategy in kept["strategies"] for job in (("plain", strategy), ("flowers_tl", strategy))]
    plan += [(kind, "feature_extraction") for kind in ("sweep", "heads") if kept["sweep"]]
    jobs = [job for number in range(kept["repeats"]) for job in (plan if number % 2 == 0 else plan[::-1])]
    done = sum(measured["kind"] != "again" for measured in kept["measured"])
    for number, (kind, strategy) in enumerate(jobs[done:], start=done + 1):
        print(f"[{number}/{len(jobs)}] {kind}, {strategy} ...", flush=True)
        for measured in bench.measure(f"{number:02}", kind, strategy, kept["sweep"]):
            kept["measured"].append(measured)
            print(f"    {measured['kind']}: {measured['seconds']:.1f} s", flush=True)
        (folder / "benchmark.json").write_text(dumps(kept, indent=2) + "\n", encoding="utf-8")
    (folder / "benchmark.md").write_text(to_markdown(kept), encoding="utf-8")
    print_speed(kept)
    print(f"Written: {folder / 'benchmark.json'} and {folder / 'benchmark.md'}")


def begin(asked: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """What benchmark.json holds at first: what is asked, machine, versions; and what the folder's benchmark measured.

    Raises:
        UserError: if the folder exists and holds no benchmark, or one that measured something else.
    """
    from benchmarks.measure import describe_machine
    from flowers_tl.runs.record import versions

    kept = asked | {"machine": describe_machine(), "versions": versions(), "measured": []}
    if folder is None or not folder.exists():
        return kept
    file = folder / "benchmark.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if other := [name for name in kept if name not in found or (name != "measured" and found[name] != kept[name])]:
        raise UserError(
            f"{folder} is there already and holds no benchmark with these {other[0]}: name a new one with folder=DIR."
        )
    return found


def read_once(overrides: list[str]) -> None:
    """Read all pictures' files, so that no command pays for the disk; refuse overrides that do not compose."""
    from flowers_tl.config.compose import compose_config
    from flowers_tl.data.registry import make_data

    config = compose_config(overrides)
    data = make_data(config)
    data.prepare_data()
    data.setup()
    for images in data.images.values():
        for file in images.files:
            Path(file).read_bytes()


if __name__ == "__main__":
    main()

"""Measure whole commands on this machine against the plain loop: ``python -m benchmarks.benchmark``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from flowers_tl.utils.errors import UserError, exit_on_error, print_error, validate_not_empty
from flowers_tl.utils.files import new_folder
from flowers_tl.utils.strict_json import dumps

HELP = """Measure whole commands, each from its start to its exit and with an empty cache, against a plain loop that does what
the article's notebook does; print the ratios, and keep all that was measured."""
STRATEGIES = ("feature_extraction", "fine_tuning")
# What the plain loop does not obey: with it two recipes would be compared.
NO_PART = (
    "strategy", "optimizer", "scheduler", "regularisation", "heads", "experiment", "sweep", "ckpt_path", "test_best",
    "data.augmentation", "data.balance", "data.protocol",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for; write benchmark.json as it comes, and benchmark.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.benchmark", description=HELP)
    parser.add_argument(
        "--strategies",
        type=strategies,
        default=[*STRATEGIES],
        metavar="NAME,NAME",
        help=f"of {', '.join(STRATEGIES)}; default: both",
    )
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="measure all N times, every second time backwards"
    )
    parser.add_argument(
        "--sweep", type=int, default=20, metavar="N",
        help="also N learning rates of feature_extraction as a multirun, and as heads of one run; 0: neither (default: 20)",
    )  # fmt: skip
    kept = "where what is measured is kept (default: a new folder in outputs); an interrupted benchmark's folder: go on"
    parser.add_argument("--folder", help=kept)
    where = "what train takes: backbone=..., data.limit=..., trainer.max_epochs=..."
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=where)
    given = parser.parse_intermixed_args(arguments)
    asked = {name: value for name, value in vars(given).items() if name != "folder"}
    with exit_on_error():
        validate_not_empty({"folder": given.folder})
        if given.repeats < 1 or given.sweep < 0 or given.sweep == 1:
            raise UserError("--repeats must be at least 1, and --sweep 0 or at least 2.")
        if wrong := [word for word in given.overrides if "=" not in word]:
            raise UserError(f"{wrong[0]} can't be read as key=value.")
        if idle := [word for word in given.overrides if has_no_part(word)]:
            raise UserError(f"{idle[0]} has no part in a benchmark: the plain loop does not know it; leave it out.")
        folder = Path(given.folder) if given.folder else None
        kept = begin(asked, folder)
        read_once(given.overrides)
        folder = folder or new_folder("benchmark")
        try:
            measure_all(kept, folder)
        except KeyboardInterrupt:
            print_error(
                f"interrupted; {folder} holds what was measured: --folder {folder} with the same options goes on."
            )
            sys.exit(130)


def strategies(names: str) -> list[str]:
    """Names that commas part; argparse tells of others."""
    found = list(dict.fromkeys(names.split(",")))
    if unknown := [name for name in found if name not in STRATEGIES]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(STRATEGIES)}")
    return found


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
        (folder / "benchmark.json").write_text(dumps(kept, indent=2) + "\n")
    (folder / "benchmark.md").write_text(to_markdown(kept))
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
    found = json.loads(file.read_text()) if file.is_file() else {}
    if other := [name for name in kept if name not in found or (name != "measured" and found[name] != kept[name])]:
        raise UserError(f"{folder} is there already and holds no benchmark with these {other[0]}: name a new --folder.")
    return found


def read_once(overrides: list[str]) -> None:
    """Read all pictures' files, so that no command pays for the disk; refuse overrides that do not compose."""
    from omegaconf import OmegaConf

    from flowers_tl.config.error_messages import COMPOSE_ERRORS, compose_config, explain_error
    from flowers_tl.data.registry import make_data

    try:
        config = OmegaConf.to_container(compose_config("train", overrides), resolve=True)
    except COMPOSE_ERRORS as error:
        raise UserError(explain_error(error)) from error
    data = make_data(config)
    data.prepare_data()
    data.setup()
    for images in data.images.values():
        for file in images.files:
            Path(file).read_bytes()


if __name__ == "__main__":
    main()

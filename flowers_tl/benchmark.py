"""Measure whole commands on this machine against the plain loop: ``python -m flowers_tl.benchmark``."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from flowers_tl.errors import UserError, tell

HELP = """Measure whole commands, each from its start to its exit and with an empty cache, against a plain loop that does what
the article's notebook does; print the ratios, and keep all that was measured."""
STRATEGIES = ("feature_extraction", "fine_tuning")


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for; write benchmark.json as it comes, and benchmark.md."""
    parser = argparse.ArgumentParser(prog="python -m flowers_tl.benchmark", description=HELP)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES, help="by default both")
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="measure all N times, every second time backwards"
    )
    parser.add_argument(
        "--sweep", type=int, default=20, metavar="N",
        help="also N learning rates of feature_extraction as a multirun, and as heads of one run; 0: neither (default: 20)",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, help="a new folder for what is measured (default: outputs/benchmark_DATE)"
    )
    where = "what train takes: backbone=..., data.limit=..., trainer.max_epochs=..."
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=where)
    given = parser.parse_intermixed_args(arguments)
    folder = given.folder or Path("outputs") / f"benchmark_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    try:
        if given.repeats < 1 or given.sweep < 0 or given.sweep == 1:
            raise UserError("--repeats must be at least 1, and --sweep 0 or at least 2.")
        if wrong := [word for word in given.overrides if "=" not in word]:
            raise UserError(f"{wrong[0]} can't be read as key=value.")
        measure_all(given.strategies, given.repeats, given.sweep, folder, given.overrides)
    except UserError as error:
        tell(error)
        sys.exit(1)
    except KeyboardInterrupt:
        tell(f"interrupted; {folder} holds what was measured so far.")
        sys.exit(130)


def measure_all(strategies: list[str], repeats: int, sweep: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Measure, and return what benchmark.json holds.

    Raises:
        UserError: if the folder exists, or a command fails; what was measured until then is kept.
    """
    from flowers_tl.results.measure import Bench, describe_machine
    from flowers_tl.results.run import versions
    from flowers_tl.results.speed_table import print_speed, to_markdown

    if folder.exists():
        raise UserError(f"{folder} is there already: name a new folder with --folder.")
    read_once(overrides)
    folder.mkdir(parents=True)
    kept: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": versions(),
        "overrides": overrides,
        "sweep": sweep,
    }
    kept["measured"] = []
    bench = Bench(folder, overrides)
    plan = [job for strategy in strategies for job in (("plain", strategy), ("flowers_tl", strategy))]
    plan += [(kind, "feature_extraction") for kind in ("sweep", "heads") if sweep]
    jobs = [job for number in range(repeats) for job in (plan if number % 2 == 0 else plan[::-1])]
    for number, (kind, strategy) in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {kind}, {strategy} ...", flush=True)
        for measured in bench.measure(kind, strategy, sweep):
            kept["measured"].append(measured)
            (folder / "benchmark.json").write_text(json.dumps(kept, indent=2) + "\n")
            print(f"    {measured['kind']}: {measured['seconds']:.1f} s", flush=True)
    command = " ".join(["python -m flowers_tl.benchmark", *overrides])
    (folder / "benchmark.md").write_text(to_markdown(kept, command))
    print_speed(kept)
    print(f"Written: {folder / 'benchmark.json'} and {folder / 'benchmark.md'}")
    return kept


def read_once(overrides: list[str]) -> None:
    """Read all pictures' files, so that no command pays for the disk; refuse overrides that do not compose."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    import flowers_tl.door  # noqa: F401  (registers the schema)
    from flowers_tl.config import CONF
    from flowers_tl.parts import make_data
    from flowers_tl.refusals import REFUSALS, explain

    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(compose("train", overrides=overrides), resolve=True)
    except REFUSALS as error:
        raise UserError(explain(error)) from error
    data = make_data(config)
    data.prepare_data()
    data.setup()
    for pictures in data.pictures.values():
        for file in pictures._image_files:
            Path(file).read_bytes()


if __name__ == "__main__":
    main()

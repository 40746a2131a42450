"""Measure on one machine what docs/speed.md says of a GPU: ``python -m benchmarks.gpu``; benchmarks/gpu.sh does all of it.

Every result is kept as it comes, so that a stop after any minute leaves what was measured; the same command continues.
"""

import csv
import json
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from benchmarks.measure import describe_machine, images_seen, rates, run
from flowers_tl.cli.options import Positional, command, is_override
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write, dumps

STRATEGIES = ("feature_extraction", "fine_tuning")
PRECISIONS = {"fp32": [], "bf16": ["cache.precision=bf16", "trainer.precision=bf16-mixed"]}
# Epochs that the plain loop runs; the others take as long as the last of them.
PLAIN_EPOCHS = 2


@dataclass(kw_only=True)
class GpuOptions:
    """Measure the article's two strategies by the plain loop and by flowers_tl, with an empty and a full cache, in fp32 and
    bf16; a sweep; the epochs of larger networks; and what the machine can do at most."""

    out: Path
    """JSON file that gets each result as it comes; with an earlier benchmark's, what is in it is not measured again."""
    backbones: str = "resnet18:DEFAULT,mobilenet_v2:DEFAULT"
    """Networks and their weights: names of torchvision's weights, or files."""
    large: str = "convnext_tiny,vit_b_16"
    """Networks of which only the epochs are measured, with random weights."""
    minutes: float = 7.0
    """Begin no measurement after so many minutes."""
    skip: list[str] = field(default_factory=list)
    """A measurement to leave out: any whose name contains this; it may be given several times."""
    workers: int = 16
    """Worker processes of the plain loop's DataLoader."""
    sweep: int = 20
    """Learning rates of the sweep."""
    overrides: Annotated[list[str], Positional("[KEY=VALUE...]", is_override())] = field(default_factory=list)
    """What train takes: data=..., data.limit=..., trainer.max_epochs=..."""


@command(resume=lambda options: "; the same command continues with what was measured")
def main(options: GpuOptions) -> None:
    """Measure all, the most important first; write the JSON after each."""
    from flowers_tl.runs.record import versions

    words = ["python -m benchmarks.gpu", f"backbones={options.backbones}", f"sweep={options.sweep}", *options.overrides]
    kept: dict[str, Any] = {"machine": describe_machine(), "versions": versions(), "command": shlex.join(words)}
    kept |= {
        "measured": json.loads(options.out.read_text(encoding="utf-8"))["measured"] if options.out.is_file() else []
    }
    done, began = {one["name"] for one in kept["measured"]}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowers_tl-gpu-", ignore_cleanup_errors=True) as temporary:
        bench = GpuBench(options, Path(temporary))
        for name, module, arguments, read in bench.plan():
            if name in done or any(word in name for word in options.skip):
                continue
            if time.monotonic() - began > 60 * options.minutes:
                print(f"Not begun after {options.minutes:g} minutes: {name} and what follows.")
                return
            print(f"{name} ...", flush=True)
            log = Path(temporary) / f"{len(kept['measured'])}.log"
            try:
                measured, output = run([module, *arguments], log)
                result = {"name": name} | measured | read(output)
            except UserError as error:
                # The others are worth having.
                result = {
                    "name": name,
                    "error": str(error),
                    "log": log.with_suffix(".err").read_text(encoding="utf-8")[-2000:],
                }
            kept["measured"].append(result)
            with atomic_write(options.out) as beside:
                beside.write_text(dumps(kept, indent=2) + "\n", encoding="utf-8")
            print(f"    {result.get('error') or summary(result)}", flush=True)


class GpuBench:
    """The list of measurements: a name, a module, its arguments, and what reads its result.

    Args:
        options: of the command.
        folder: for caches and runs, which only the result is kept of.
    """

    def __init__(self, options: GpuOptions, folder: Path) -> None:
        self.options, self.folder = options, folder
        pairs = [pair.partition(":") for pair in options.backbones.split(",")]
        self.backbones = {name: [f"backbone={name}", f"backbone.weights={weights}"] for name, _, weights in pairs}

    def plan(self) -> Iterator[tuple[str, str, list[str], Any]]:
        """The most important first: later ones are lost where time runs out."""
        first, *others = self.backbones
        yield from self.strategies(first, "fp32")
        yield "parts", "benchmarks.gpu_parts", [*self.options.overrides, *self.backbones], read_lines
        yield from self.strategies(first, "bf16")
        for name in others:
            yield from self.strategies(name, "fp32")
        yield from self.sweep(first)
        for name in self.options.large.split(","):
            yield from self.epochs(name)
        for name in others:
            yield from self.strategies(name, "bf16")

    def strategies(self, backbone: str, precision: str) -> Iterator[tuple[str, str, list[str], Any]]:
        words = [*self.backbones[backbone], *PRECISIONS[precision]]
        both = ["-m", f"strategy={','.join(STRATEGIES)}"]
        for state in ("empty", "full"):
            folder = self.folder / f"{backbone}-{precision}-{state}"
            name = f"{backbone}, {precision}, flowers_tl, {state} cache"
            cache = f"cache.dir={self.folder / f'cache-{backbone}-{precision}'}"
            yield name, "flowers_tl.train", self.train(folder, *both, *words, cache), lambda _, f=folder: read_runs(f)
        for strategy in STRATEGIES:
            yield self.plain(backbone, strategy, precision, words)

    def plain(self, backbone: str, strategy: str, precision: str, words: list[str]) -> tuple[str, str, list[str], Any]:
        given = dict(word.split("=", 1) for word in self.options.overrides)
        epochs = int(given.get("trainer.max_epochs", 15))
        words = [f"strategy={strategy}", *self.options.overrides, *words, f"data.num_workers={self.options.workers}"]
        few = f"trainer.max_epochs={min(PLAIN_EPOCHS, epochs)}"
        name = f"{backbone}, {precision}, plain loop, {strategy}"
        return name, "benchmarks.plain_loop", [*words, few], lambda output: extend(output, epochs)

    def sweep(self, backbone: str) -> Iterator[tuple[str, str, list[str], Any]]:
        given = ",".join(rates(self.options.sweep))
        for kind, words in (("multirun", ["-m", f"strategy.table.0.lr={given}"]), ("heads", [f"heads.lr=[{given}]"])):
            folder = self.folder / kind
            words = [*words, *self.backbones[backbone], f"cache.dir={self.folder / f'cache-{kind}'}"]
            name = f"{backbone}, {self.options.sweep} rates, {kind}, empty cache"
            yield name, "flowers_tl.train", self.train(folder, *words), lambda _, f=folder: read_runs(f)

    def epochs(self, backbone: str) -> Iterator[tuple[str, str, list[str], Any]]:
        """Epochs of fine_tuning and its validations, in bf16: 32 steps of the article's batches, and all val images."""
        words = [f"backbone={backbone}", "backbone.weights=null", *PRECISIONS["bf16"]]
        folder = self.folder / f"{backbone}-epochs"
        ours = self.train(folder, "strategy=fine_tuning", *words, f"cache.dir={self.folder / 'cache-large'}")
        name = f"{backbone}, bf16, flowers_tl, epochs of fine_tuning"
        limits = ["trainer.max_epochs=4", "trainer.limit_test_batches=1"]
        yield name, "flowers_tl.train", [*ours, *limits], lambda _, f=folder: read_runs(f)
        yield self.plain(backbone, "fine_tuning", "bf16", words)

    def train(self, folder: Path, *words: str) -> list[str]:
        where = "hydra.sweep.dir" if "-m" in words else "hydra.run.dir"
        quiet = ["trainer.enable_progress_bar=false", "force=true", f"runs={folder}", f"{where}={folder}"]
        return [*words[: words.count("-m")], *self.options.overrides, *words[words.count("-m") :], *quiet]


def read_runs(folder: Path) -> dict[str, Any]:
    """What the runs in a folder recorded, and the seconds of all of them: start-up apart, since they begin after it."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/result.json"))]
    total = sum(result["seconds"]["total"] for result in results)
    if (folder / "result.json").is_file():
        # One run, or one of many heads, each of which records its part.
        one = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        results, total = results or [one], one["seconds"]["total"]
    runs = []
    for result in results:
        run = {key: result[key] for key in ("strategy", "seconds", "peak_memory_gb", "epochs")}
        run |= {split: result[split]["accuracy"] for split in ("val", "test")} | {"images": images_seen(result)}
        runs.append(run)
    return {"runs": runs, "total": round(total, 2)} | read_epochs(folder)


def read_epochs(folder: Path) -> dict[str, Any]:
    """Seconds of each epoch after the first, with the validation before it, where the folder is one run's."""
    file = folder / "history.csv"
    if not file.is_file():
        return {}
    ends = [float(row["seconds"]) for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())]
    return {"epoch_seconds": [round(after - before, 3) for before, after in pairwise(ends)]}


def read_lines(output: str) -> dict[str, Any]:
    return {"parts": [json.loads(line) for line in output.splitlines() if line.startswith("{")]}


def extend(output: str, epochs: int) -> dict[str, Any]:
    """What the plain loop measured, and the seconds that so many epochs would take: each more as long as its last."""
    found = json.loads(output.strip().splitlines()[-1])
    seconds, measured = found["seconds"], found["epochs"]
    total = seconds["total"] + (epochs - len(measured)) * measured[-1]
    return {"seconds_by_phase": seconds, "epoch_seconds": measured, "test": found["test"], "extended": round(total, 2)}


def summary(result: dict[str, Any]) -> str:
    """A line of what was measured."""
    shown = {key: result[key] for key in ("seconds", "total", "extended", "epoch_seconds") if key in result}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


if __name__ == "__main__":
    main()

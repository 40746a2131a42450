"""Measure how other work on the machine slows training down, with each way to wait for threads: ``python -m benchmarks.busy``.

OpenMP's threads spin while they wait for one another. Where another process has their core, a thread that spins takes the
time of the one that it waits for. The package chooses how long they spin (``flowers_tl/__init__.py``); a user's own setting wins.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from flowers_tl.cli.options import Positional, command, is_override
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write, dumps, validate_overwrite

FILE = "busy.json"
# What libgomp does without any setting is to spin 300,000 times.
SETTINGS: dict[str, dict[str, str]] = {
    "as shipped": {},
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"GOMP_SPINCOUNT": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# A command, what it gets, and the phases of its record that are measured.
JOBS = {
    "feature_extraction": (["strategy=feature_extraction"], ("fit", "test")),
    "linear_probe": (["strategy=linear_probe"], ("solve", "test")),
    "fine_tuning": (["strategy=fine_tuning", "trainer.max_epochs=1"], ("fit", "test")),
}


@dataclass(kw_only=True)
class BusyOptions:
    """Train beside processes that use a core each, with several settings of OpenMP and full caches; print the seconds and their
    ratio to what the package does by itself, and keep all that was measured."""

    jobs: str = ",".join(JOBS)
    """Which strategies, separated by a comma."""
    settings: str = ",".join(SETTINGS)
    """Which settings, separated by a comma."""
    busy: str = "0,1,2"
    """How many other processes, each of which uses one core; several numbers are separated by a comma."""
    repeats: int = 3
    """Measure all so many times; the median counts."""
    out: Path = Path("outputs/busy")
    """Folder of busy.json, the logs and the cache; the same command continues with what is there."""
    overrides: Annotated[list[str], Positional("[KEY=VALUE...]", is_override())] = field(default_factory=list)
    """What all runs get besides: backbone=..., data.limit=..."""


@command(resume=lambda options: "; the same command continues")
def main(options: BusyOptions) -> None:
    """Measure each combination, the settings in turn, and write the JSON as the results come."""
    from benchmarks.measure import describe_machine
    from flowers_tl.runs.record import versions

    lists = {}
    for key, known in (("jobs", JOBS), ("settings", SETTINGS)):
        lists[key] = [word.strip() for word in getattr(options, key).split(",")]
        if unknown := [name for name in lists[key] if name not in known]:
            raise UserError(f"{key}={unknown[0]} is none of {', '.join(known)}.")
    if options.repeats < 1 or not all(number.strip().isdecimal() for number in options.busy.split(",")):
        raise UserError("repeats must be at least 1, and busy whole numbers separated by commas.")
    validate_overwrite(options.out, (FILE,), f'"overrides": {dumps(options.overrides)}', "out")
    file = options.out / FILE
    data = (
        json.loads(file.read_text(encoding="utf-8"))
        if file.is_file()
        else {"overrides": options.overrides, "measured": []}
    )
    data |= {"machine": describe_machine(), "versions": versions()}
    (options.out / "logs").mkdir(parents=True, exist_ok=True)
    done = {(row["number"], row["job"], row["busy"], row["setting"]) for row in data["measured"]}
    plan = product(range(options.repeats), lists["jobs"], map(int, options.busy.split(",")), lists["settings"])
    warmed = set()
    for number, job, busy, setting in plan:
        if (number, job, busy, setting) in done:
            continue
        if job not in warmed:
            # This fills the caches, and the system's memory with the files.
            measure(job, 0, "as shipped", options)
            warmed.add(job)
        row = measure(job, busy, setting, options) | {"number": number}
        print(f"[{number + 1}/{options.repeats}] {job}, {busy} busy, {setting}: {row['phases']}", flush=True)
        data["measured"].append(row)
        with atomic_write(file) as beside:
            beside.write_text(dumps(data) + "\n", encoding="utf-8")
    print(table(data["measured"]))


def measure(job: str, busy: int, setting: str, options: BusyOptions) -> dict[str, Any]:
    """Run one job beside ``busy`` processes; return the seconds of its phases."""
    from benchmarks.measure import run

    words, phases = JOBS[job]
    train = ["flowers_tl.train", *words, *options.overrides, "trainer.enable_progress_bar=false"]
    log = options.out / "logs" / f"{job}_{busy}_{setting.replace(' ', '_')}.log"
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        with TemporaryDirectory(prefix="run-", dir=options.out) as folder:
            places = [f"cache.dir={options.out / 'cache'}", f"hydra.run.dir={folder}/run", f"runs={folder}"]
            measured, _ = run([*train, *places], log, SETTINGS[setting])
            seconds = json.loads(Path(folder, "run", "result.json").read_text(encoding="utf-8"))["seconds"]
    finally:
        for other in others:
            other.kill()
            other.wait()
    measured |= {"phases": {phase: seconds[phase] for phase in phases}}
    return {"job": job, "busy": busy, "setting": setting} | measured


def table(measured: list[dict[str, Any]]) -> str:
    """Markdown: a row for each job, phase and number of busy processes, a column for each setting, medians in seconds."""
    from statistics import median

    from flowers_tl.utils.templates import markdown_table

    settings = list(dict.fromkeys(row["setting"] for row in measured))
    groups: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    for row in measured:
        for phase, seconds in row["phases"].items():
            groups.setdefault((row["job"], phase, row["busy"]), {}).setdefault(row["setting"], []).append(seconds)
    rows = []
    for (job, phase, busy), times in groups.items():
        cells = [f"{median(times[name]):.1f} s" if name in times else "" for name in settings]
        rows.append((job, phase, str(busy), *cells))
    return markdown_table(("strategy", "phase", "busy processes", *settings), rows)


if __name__ == "__main__":
    main()

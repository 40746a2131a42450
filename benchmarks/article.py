"""Measure the article again, its two strategies and its other claims, with three seeds: ``python -m benchmarks.article``.

Each run is a command ``flowers_tl.train experiment=article ...``: a finished one is not run again, a stopped one goes on.
"""

import base64
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from flowers_tl.cli.options import Positional, command, is_override
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write, dumps, validate_overwrite

FILES = ("article.json", "article.md", "article.png")
# What a run changes in experiment=article: the article's two strategies, and what its other claims are about.
STRATEGIES = {name: [f"strategy={name}"] for name in ("feature_extraction", "fine_tuning")}
VARIANTS = {
    "one rate of 1e-3": ["strategy=fine_tuning", "strategy.table.0.lr=1e-3"],
    "one rate of 1e-4": ["strategy=fine_tuning", "strategy.table.1.lr=1e-4"],
    "from_scratch": ["strategy=from_scratch"],
    "all layers": ["strategy=fine_tuning", "strategy.table.0.stage=:head"],
}  # fmt: skip
RESULT = ("id", "weights_fingerprint", "learning_rates", "parameters", "val", "test", "seconds")
HISTORY = ("epoch", "train/loss", "val/loss", "val/accuracy")


@dataclass(kw_only=True)
class ArticleOptions:
    """Run the two strategies of the article and what its other claims need, put the results beside the article's figures,
    and say of each claim whether it holds."""

    weights: str = "IMAGENET1K_V1"
    """ResNet18 weights to begin from: a torchvision name or a file; several are separated by a comma, the first matters most."""
    seeds: str = "0,1,2"
    """Seeds, separated by a comma."""
    claims: bool = True
    """Also measure the other claims, with the first weights, and frozen BatchNorm in eval mode; false: only the two strategies."""
    jobs: int = 1
    """Runs side by side on the one device."""
    check: bool = False
    """Check the article's four accuracies: exit code 1 unless each is within the tolerance that the seeds' spread gives."""
    out: Path = Path("outputs/article")
    """Folder of article.json, article.md and article.png; the same command continues with what is there."""
    runs: Path | None = None
    """Folder of the runs; default: runs in out."""
    overrides: Annotated[list[str], Positional("[KEY=VALUE...]", is_override())] = field(default_factory=list)
    """What all runs get besides: data.limit=..., trainer.max_epochs=..."""


class Job(NamedTuple):
    """One run: what it changes, from which weights, how it treats frozen BatchNorm, and its seed."""

    variant: str
    weights: str
    frozen_batchnorm: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        words = f"{self.variant} {Path(self.weights).stem} {self.frozen_batchnorm} seed{self.seed}"
        return words.replace(",", "").replace(" ", "_")


@command(resume=lambda options: "; the same command continues")
def main(options: ArticleOptions) -> int | None:
    """Run all jobs, the most important first; write article.json as they come, then the tables and the figure."""
    seeds = [word.strip() for word in options.seeds.split(",")]
    if options.jobs < 1 or not all(seed.isdecimal() for seed in seeds):
        raise UserError("jobs must be at least 1, and seeds whole numbers separated by commas.")
    weights = [word.strip() for word in options.weights.split(",")]
    stems = [Path(word).stem for word in weights]
    if len({*stems}) < len(stems):
        raise UserError(
            f"weights={options.weights} names two files of one name, which is the name of their runs: rename one."
        )
    jobs = list_jobs(weights, sorted({int(seed) for seed in seeds}), options.claims)
    validate_overwrite(options.out, FILES, f'"overrides": {dumps(options.overrides)}', "out")
    options.out.mkdir(parents=True, exist_ok=True)
    data = measure(options, weights, jobs)

    from benchmarks.article_summary import report

    return report(data, options.out / FILES[1], options.out / FILES[2], options.check)


def list_jobs(weights: Sequence[str], seeds: Sequence[int], claims: bool) -> list[Job]:
    """All runs, the most important first: what is stopped early has whole groups of seeds."""
    groups = [(name, file, "train") for file in weights for name in STRATEGIES]
    if claims:
        groups += [(name, weights[0], "train") for name in VARIANTS]
        groups += [(name, file, "eval") for file in weights for name in STRATEGIES]
    groups = [(name, "random" if name == "from_scratch" else file, mode) for name, file, mode in groups]
    return [Job(*group, seed) for group in groups for seed in seeds]


def measure(options: ArticleOptions, weights: Sequence[str], jobs: Sequence[Job]) -> dict[str, Any]:
    """Run the jobs; return the content of article.json, which is written after each.

    Raises:
        UserError: at the end, if a run failed.
    """
    from benchmarks.imagenet_view import see_flowers
    from benchmarks.measure import describe_machine, run
    from flowers_tl.runs.record import versions

    folder, file = options.runs or options.out / "runs", options.out / FILES[0]
    data = {"overrides": options.overrides, "command": " ".join(["python -m benchmarks.article", *sys.argv[1:]])}
    earlier = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"weights": [], "imagenet": {}, "runs": []}
    )
    data |= {"machine": describe_machine(), "versions": versions(), "imagenet": earlier["imagenet"]}
    data |= {"weights": list(dict.fromkeys([*weights, *earlier["weights"]]))}
    logs, rows, failed = options.out / "logs", {job: read(folder, job) for job in jobs}, []
    # With other weights or seeds than before: their rows stay, with the machine that they were made on.
    made = {key: earlier.get(key) for key in ("machine", "versions")}
    names = {job.name for job in jobs}
    others = [made | row for row in earlier["runs"] if Job(*(row[key] for key in Job._fields)).name not in names]
    logs.mkdir(exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    pool = ThreadPoolExecutor(options.jobs)
    try:
        futures = {
            pool.submit(run, train_command(job, folder, options.overrides), logs / f"{job.name}.log"): job
            for job in jobs
        }
        for name in weights:
            data["imagenet"] |= {Path(name).name: see_flowers(name, options.overrides)}
        for number, future in enumerate(as_completed(futures), start=1):
            job = futures[future]
            try:
                future.result()
                rows[job] = read(folder, job)
                print(f"[{number}/{len(jobs)}] {job.name}: val {rows[job]['val']['accuracy']:.1%}", flush=True)
            except UserError as error:
                failed.append(f"{job.name}: {error}")
                print(f"[{number}/{len(jobs)}] {failed[-1]}", flush=True)
            write(file, data | {"runs": [*others, *filter(None, rows.values())]})
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} runs failed; {failed[0].rstrip('.')}; see {logs}.")
    return data | {"runs": [*others, *rows.values()]}


def train_command(job: Job, folder: Path, overrides: Sequence[str]) -> list[str]:
    """The command of a run: a module and its arguments."""
    words = ["experiment=article", "hydra.mode=RUN", *(STRATEGIES | VARIANTS)[job.variant], f"seed={job.seed}"]
    words += [f"strategy.frozen_batchnorm={job.frozen_batchnorm}", "trainer.enable_progress_bar=false"]
    words += [] if job.weights == "random" else [f"backbone.weights={job.weights}"]
    return ["flowers_tl.train", *words, *overrides, f"runs={folder}", f"hydra.run.dir={folder / job.name}"]


def read(folder: Path, job: Job) -> dict[str, Any] | None:
    """What article.json says of a run; None where it is not finished. ``hits`` is one bit a test image."""
    import numpy as np

    from flowers_tl.results.load_runs import find_runs
    from flowers_tl.results.statistics import top_k

    try:
        (run,), _ = find_runs([folder / job.name])
    except UserError:
        return None
    test, result = run.predictions().splits["test"], run.result
    hits = base64.b64encode(np.packbits(top_k(test.logits, test.labels, 1))).decode()
    row = job._asdict() | {"weights": Path(job.weights).name, "images": len(test.labels)}
    row |= {key: result[key] for key in RESULT}
    return row | {"history": {key: run.history[key].round(5).tolist() for key in HISTORY}, "hits": hits}


def write(file: Path, data: dict[str, Any]) -> None:
    """Write the JSON, a line a run."""
    runs = ",\n".join(dumps(row) for row in data["runs"])
    with atomic_write(file) as beside:
        beside.write_text(f"{dumps(data | {'runs': []})[:-2]}\n{runs}\n]}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

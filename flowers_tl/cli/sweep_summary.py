"""What became of a sweep's jobs, whichever launcher ran them and in whichever process: one line a job at the end."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write, dumps
from flowers_tl.utils.interruption import is_first_process

# In a sweep's folder: a file a job, which the process of the job writes.
JOBS = ".jobs"


class Failure(str):
    """What a job of a sweep returns that failed: the sentence of its error."""


class SweepSummary(Callback):
    """Hydra's callback: each job leaves a record, and the process that was started prints them all when all are done.

    A job may have run in another process or on another machine, so neither its variables nor its output say here that
    it failed; its record does.
    """

    # Of the last sweep of this process: Hydra keeps the object to itself.
    failed = False
    lock: FileLock

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweepSummary.failed = False

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if in_sweep(config.hydra) and is_first_process():
            # The property without the underscore would raise it, and print besides.
            value = job_return._return_value
            write_record(config, config.hydra.job.num, job_return.overrides, config.hydra.runtime.output_dir, value)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        records = read_records(config)
        SweepSummary.failed = any(record["error"] for record in records)
        if records:
            good = sum(not record["error"] for record in records)
            print(f"{good} of {len(records)} jobs finished in {config.hydra.sweep.dir}")
        settings = drop_common_overrides([record["overrides"] for record in records])
        for record, overrides in zip(records, settings, strict=True):
            print(f"  {record['number']:>3}  {' '.join(overrides)}  {describe_record(record)}")
        if not all(record["error"] for record in records):
            print(f"Next: python -m flowers_tl.compare {shlex.quote(config.hydra.sweep.dir)}")


def begin_records(config: DictConfig) -> None:
    """Claim a sweep's folder, and remove the job records of an earlier sweep there, whose runs are recorded elsewhere.

    Raises:
        UserError: if another process runs a sweep in the folder.
    """
    folder = Path(config.hydra.sweep.dir) / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    # Held until this process ends, or begins another sweep.
    SweepSummary.lock = FileLock(folder / ".lock")
    lock_or_fail(SweepSummary.lock, f"the sweep in {folder.parent}")
    for file in folder.glob("*.json"):
        if file.stem.isdecimal():
            file.unlink()


def in_sweep(hydra: DictConfig) -> bool:
    """Whether a job belongs to a sweep; one that a launcher starts in another process does too."""
    return not OmegaConf.is_missing(hydra.job, "num")


def write_record(
    config: DictConfig, number: int, overrides: Sequence[str], folder: str | Path, value: Any
) -> dict[str, Any]:
    """Write what became of a job: its value is a number, None where it has none, or what went wrong."""
    error = str(value) or type(value).__name__ if isinstance(value, Failure | BaseException) else None
    record = {"number": number, "overrides": list(overrides), "folder": str(folder)}
    record |= {"value": None if error else value, "error": error, "monitor": OmegaConf.select(config, "monitor")}
    file = Path(config.hydra.sweep.dir) / JOBS / f"{number}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    # A job's number is given once in a sweep, and no other sweep runs in its folder while it holds the lock.
    with atomic_write(file) as beside:
        beside.write_text(dumps(record) + "\n", encoding="utf-8")
    return record


def complete_record(
    config: DictConfig, number: int, overrides: Sequence[str], folder: Path, code: int
) -> dict[str, Any]:
    """The record of a job that ran as a command and ended with ``code``; one that died without a record gets one."""
    file = Path(config.hydra.sweep.dir) / JOBS / f"{number}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    end = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return write_record(config, number, overrides, folder, Failure(f"The job {end}; see {folder / 'log.txt'}."))


def read_records(config: DictConfig) -> list[dict[str, Any]]:
    """The records of a sweep's jobs, by number."""
    files = (Path(config.hydra.sweep.dir) / JOBS).glob("*.json")
    return sorted((json.loads(file.read_text(encoding="utf-8")) for file in files), key=lambda record: record["number"])


def describe_record(record: Mapping[str, Any]) -> str:
    """What became of a job, in a few words."""
    if record["error"]:
        return f"failed: {record['error']}"
    if record["value"] is None:
        return "finished"
    shown = record.get("monitor") not in (None, "val/accuracy")
    return f"{record['monitor']} {record['value']:.4g}" if shown else f"val accuracy {record['value']:.1%}"


def drop_common_overrides(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each job's overrides without those that all jobs have."""
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [[override for override in job if override not in common] for job in jobs]

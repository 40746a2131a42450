"""A run is made once: what is finished is not run again, what was interrupted goes on, and no two processes do the same."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from flowers_tl.runs.record import ELSEWHERE, divergence_reason, head_of, read_result, remove_files
from flowers_tl.runs.resume import read_checkpoint
from flowers_tl.runs.run_id import identify
from flowers_tl.training.factory import set_up_data
from flowers_tl.training.run import train
from flowers_tl.training.validate import validate_config
from flowers_tl.utils.errors import UserError, validate_not_empty
from flowers_tl.utils.file_locks import claim, hold
from flowers_tl.utils.notes import log
from flowers_tl.utils.phase_timer import PhaseTimer
from flowers_tl.utils.strict_json import dumps

# How a run may have ended that can begin anew in its folder, where no epoch was kept.
UNFINISHED = ("running", "failed", "interrupted", "diverged")


def train_once(
    config: dict[str, Any],
    folder: Path,
    given: tuple[str, ...] = (),
    beside: Iterable[Path] = (),
    goes_on: Callable[[Path], None] = lambda folder: None,
) -> dict[str, Any]:
    """Return a run's result: its record's, where the same run is finished; else go on with it, or make it.

    Args:
        config: of the run; ``runs`` is the folder in which the same run is looked for, ``force`` makes it anew.
        folder: of a new run. Where the run lies elsewhere, it gets a note that says where.
        given: keys that the user has named, see :func:`flowers_tl.training.run.train`.
        beside: more folders in which to look.
        goes_on: is told the folder in which an interrupted run goes on, before it does.

    Raises:
        UserError: as :func:`flowers_tl.training.run.train` does.
    """
    if is_one_of_several_processes() or config["ckpt_path"] is not None or config["trainer"]["fast_dev_run"]:
        return train(config, folder, given)
    validate_not_empty(config)
    validate_config(config)
    data = set_up_data(config)
    own = identify(config, data)["id"]
    with exclusive(Path(config["runs"]), own, data.clock):
        found = None if config["force"] else find_same(own, [Path(config["runs"]), *beside])
        result = json.loads((found / "result.json").read_text()) if found else {}
        if result.get("status") == "finished" and not divergence_reason(result):
            log.info(f"Finished already: {found}. force=true would run it anew.")
            link_to(folder, found)
            return result
        if found and (why := divergence_reason(result)):
            link_to(folder, found)
            raise UserError(
                f"The same run diverged before, in {found} ({why.rstrip('.')}): force=true would run it anew."
            )
        if found and can_resume(found, folder):
            log.info(f"Goes on: {found} ({str(result.get('status')).replace('running', 'killed')}).")
            link_to(folder, found)
            goes_on(found)
            return train(config | {"ckpt_path": "last"}, found, given, data=data)
        for begun in {folder.resolve(): folder, **({found.resolve(): found} if found else {})}.values():
            if has_no_epoch(begun, config):
                log.info(f"Begins anew: {begun} was stopped before its first epoch was over.")
                clear_unfinished(begun)
        return train(config, folder, given, data=data)


def can_resume(found: Path, folder: Path) -> bool:
    """Whether a run that is not finished has a checkpoint to go on from.

    Raises:
        UserError: if it is damaged, and a new run can't be made beside it.
    """
    checkpoint = found / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        return False
    try:
        read_checkpoint(checkpoint)
    except UserError as error:
        if found.resolve() == folder.resolve():
            raise UserError(f"{checkpoint} is damaged: remove {found}, and the same command begins it anew.") from error
        log.info(f"Begins anew: {checkpoint} is damaged.")
        return False
    return True


def has_no_epoch(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a run was begun in the folder and stopped before an epoch was kept.

    A ``config.yaml`` without a record may be anybody's; only one that says what ``config`` says may be written again.
    """
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return False
    if (folder / "result.json").exists():
        return read_result(folder).get("status") in UNFINISHED
    file = folder / "config.yaml"
    return file.is_file() and file.read_bytes() == yaml.safe_dump(config, sort_keys=False).encode()


def is_one_of_several_processes() -> bool:
    """Whether other processes make this run together with this one.

    Helpers that Lightning starts find it decided by the first process. Of processes that a cluster starts all begin at
    once, and one that waited for another would never end: there, and under torchrun, each run is made anew.
    """
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS") or 1) > 1


@contextmanager
def exclusive(runs: Path, own: str, clock: PhaseTimer) -> Iterator[None]:
    """Hold the run with this id, so that no other process makes it; wait for one that does, while the clock stands still."""
    (runs / ".locks").mkdir(parents=True, exist_ok=True)
    told = "Another process is making this very run: waiting for its end."
    with hold(runs / ".locks" / f"{own}.lock", told, waiting=clock.stopped()):
        yield


def find_same(own: str, folders: Iterable[Path]) -> Path | None:
    """The folder of the run with this id below the ``folders``: a finished one, else the one that got furthest."""
    found = []
    for folder in folders:
        for file in folder.rglob("result.json"):
            try:
                text = file.read_text()
                result = json.loads(text) if own in text else {}
            except (OSError, ValueError):
                continue  # being written, or damaged: not a run that can be taken over
            done = isinstance(result, dict) and result.get("status") == "finished"
            if isinstance(result, dict) and result.get("id") == own and (not done or "val" in result):
                checkpoint = file.parent / "checkpoints" / "last.ckpt"
                begun = checkpoint.stat().st_mtime if checkpoint.is_file() else 0.0
                found.append((done, begun, str(file.parent)))
    return Path(max(found)[2]) if found else None


def link_to(folder: Path, found: Path) -> None:
    """Leave a note in a run's folder that says where the run lies in its stead; not beside another run, which it would hide."""
    if folder.resolve() == found.resolve() or not folder.is_dir() or (folder / "config.yaml").exists():
        return
    note = {"run": os.path.relpath(found.resolve(), folder.resolve())}
    # Hydra made the folder for this job; an earlier note in it spoke of the same job.
    (folder / ELSEWHERE).write_text(dumps(note) + "\n")


def clear_unfinished(folder: Path) -> None:
    """Remove what a run wrote that was stopped before anything came of it, so that another can begin in its place.

    Of what lies below, its own unfinished heads go; other runs, and files that no run writes, stay.
    """
    lock = FileLock(folder / ".lock")
    claim(lock, f"the run in {folder}")
    try:
        own = read_result(folder).get("id")
        for head in [file.parent for file in folder.glob("*/result.json")]:
            record = read_result(head)
            if own and head_of(record) == own and record["status"] in UNFINISHED:
                remove_files(head)
        remove_files(folder)
    finally:
        lock.release()

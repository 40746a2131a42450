"""Which folder holds a run: find the same run, claim it against other processes, clear one that kept no epoch."""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from flowers_tl.runs.read_record import ELSEWHERE, KINDS, read_mapping, read_text
from flowers_tl.runs.record import head_of, read_result, remove_files
from flowers_tl.runs.resume import read_checkpoint
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.file_locks import lock_or_fail, lock_or_wait
from flowers_tl.utils.files import atomic_write, dumps
from flowers_tl.utils.notes import log
from flowers_tl.utils.phase_timer import PhaseTimer

# How a run may have ended that can begin anew in its folder, where no epoch was kept.
UNFINISHED = ("running", "failed", "interrupted", "diverged")


def lock_run(runs: Path, run_id: str, clock: PhaseTimer) -> AbstractContextManager[None]:
    """Hold the run with this id against other processes; wait for one that makes it, while the clock stands still."""
    (runs / ".locks").mkdir(parents=True, exist_ok=True)
    message = "Another process is running the same run: waiting until it has finished."
    return lock_or_wait(runs / ".locks" / f"{run_id}.lock", message, waiting=clock.stopped())


def find_same(run_id: str, folders: Iterable[Path]) -> Path | None:
    """The folder of the run with this id below the ``folders``: a finished one, else the one that got furthest.

    All records are read each time: 2,000 take 0.2 s, and no index can be out of date.
    """
    runs, roots = [], {folder.resolve(): folder for folder in folders}
    outermost = [folder for place, folder in roots.items() if roots.keys().isdisjoint(place.parents)]
    for folder in itertools.chain.from_iterable(map(find_run_folders, outermost)):
        try:
            file = folder / "result.json"
            result = read_mapping(file, KINDS) if run_id in read_text(file) else {}
        except (OSError, ValueError):
            # Being written, or damaged: not a run that can be taken over.
            continue
        if result.get("id") == run_id:
            checkpoint, finished = folder / "checkpoints" / "last.ckpt", result.get("status") == "finished"
            if "val" in result or not finished:
                time = checkpoint.stat().st_mtime if checkpoint.is_file() else 0.0
                runs.append((finished, time, str(folder)))
    return Path(max(runs)[2]) if runs else None


def find_run_folders(root: Path) -> Iterator[Path]:
    """Folders below one with a record in them."""
    for folder, inner, files in os.walk(root):
        if "result.json" in files:
            # Others may lie in a run's folder (many heads), but not below its checkpoints.
            inner[:] = [name for name in inner if name != "checkpoints"]
            yield Path(folder)


def can_resume(run: Path, folder: Path) -> bool:
    """Whether an unfinished run has a checkpoint to go on from.

    Raises:
        UserError: if the checkpoint is damaged, and the new run's ``folder`` is the run's, so that none can be made beside it.
    """
    checkpoint = run / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        return False
    try:
        read_checkpoint(checkpoint)
    except UserError as error:
        if run.resolve() == folder.resolve():
            raise UserError(f"{checkpoint} is damaged: remove {run}, and give the same command again.") from error
        log.info(f"{checkpoint} is damaged, so the run starts from the beginning.")
        return False
    return True


def link_to(folder: Path, run: Path) -> None:
    """Leave a note in a job's folder that says where its run lies; not beside another run, which the note would hide."""
    if folder.resolve() != run.resolve() and folder.is_dir() and not (folder / "config.yaml").exists():
        note = {"run": os.path.relpath(run.resolve(), folder.resolve())}
        # Hydra made the folder for this job; an earlier note in it was about the same job.
        with atomic_write(folder / ELSEWHERE) as beside:
            beside.write_text(dumps(note) + "\n", encoding="utf-8")


def has_no_epoch(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a run was begun in the folder and stopped before an epoch was kept.

    A ``config.yaml`` without a record may be anybody's; only one that says what ``config`` says, or the beginning of it that a
    killed process has written, may be written again.
    """
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return False
    if (folder / "result.json").exists():
        return read_result(folder).get("status") in UNFINISHED
    file, begun = folder / "config.yaml", folder / "config.yaml.new"
    text = yaml.safe_dump(config, sort_keys=False).encode()
    if begun.is_file() and not file.exists():
        return text.startswith(begun.read_bytes())
    return file.is_file() and file.read_bytes() == text


def clear_unfinished(folder: Path) -> None:
    """Remove the files of a run that kept no epoch, and its unfinished heads; other runs and all other files stay."""
    with lock_or_fail(FileLock(folder / ".lock"), f"the run in {folder}"):
        run_id = read_result(folder).get("id")
        for head in [file.parent for file in folder.glob("*/result.json")]:
            record = read_result(head)
            if run_id and head_of(record) == run_id and record["status"] in UNFINISHED:
                remove_files(head)
        remove_files(folder)

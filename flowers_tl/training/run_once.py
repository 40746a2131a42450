"""Make each run once: do not repeat a finished run, continue an interrupted one, and let no two processes make the same run."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.runs.read_record import read_mapping
from flowers_tl.runs.record import UNTESTED, divergence_reason, run_files, validate_unused
from flowers_tl.runs.registry import can_resume, clear_unfinished, find_same, has_no_epoch, link_to, lock_run
from flowers_tl.runs.run_id import identify
from flowers_tl.training.run import train
from flowers_tl.training.validate import validated_data
from flowers_tl.utils.errors import UserError, validate_not_empty
from flowers_tl.utils.notes import log


def train_once(
    config: dict[str, Any],
    folder: Path,
    named_keys: tuple[str, ...] = (),
    other_folders: Iterable[Path] = (),
    on_resume: Callable[[Path], None] = lambda folder: None,
    tested: bool = True,
) -> dict[str, Any]:
    """Return a run's result: read it if the same run is finished, else continue or make the run.

    Args:
        config: of the run; ``runs`` is the folder in which the same run is looked for, ``force`` makes it anew.
        folder: of a new run. Where the run lies elsewhere, it gets a note that says where.
        named_keys: keys that the user has named, see :func:`flowers_tl.training.run.train`.
        other_folders: more folders in which to look.
        on_resume: is called with the folder in which an interrupted run goes on, before it does.
        tested: False: end before the test, unless it is made already.

    Raises:
        UserError: as :func:`flowers_tl.training.run.train` does.
    """
    if is_one_of_several_processes() or config["ckpt_path"] is not None or config["trainer"]["fast_dev_run"]:
        return train(config, folder, named_keys, tested=tested)
    validate_not_empty(config)
    config = with_preprocessing(config)
    data = validated_data(config, named_keys=named_keys)
    run_id, runs = identify(config, data)["id"], [Path(config["runs"]), *other_folders]
    # Before a lock is made. Where the same run lies elsewhere, this folder only gets a note.
    if run_files(folder) and not has_no_epoch(folder, config) and (config["force"] or not find_same(run_id, runs)):
        validate_unused(folder)
    with lock_run(Path(config["runs"]), run_id, data.clock):
        same = None if config["force"] else find_same(run_id, runs)
        if same:
            result = read_mapping(same / "result.json")
            status, diverged = result.get("status"), divergence_reason(result)
            if diverged or status == "finished" or can_resume(same, folder):
                link_to(folder, same)
                if diverged:
                    raise UserError(
                        f"The same run diverged before, in {same} ({diverged.rstrip('.')}): use lower learning rates, or "
                        "repeat it with force=true."
                    )
                if status == "finished":
                    log.info(f"Finished already: {same}. Use force=true to run it again.")
                    return result
                if status == UNTESTED and not tested:
                    return result
                log.info(f"Continuing the run in {same} (it was {'killed' if status == 'running' else status}).")
                on_resume(same)
                return train(config | {"ckpt_path": "last"}, same, named_keys, data=data, tested=tested)
        for stopped in {folder.resolve(), (same or folder).resolve()}:
            if has_no_epoch(stopped, config):
                log.info(f"Starting from the beginning: the run in {stopped} was stopped in its first epoch.")
                clear_unfinished(stopped)
        return train(config, folder, named_keys, data=data, tested=tested)


def is_one_of_several_processes() -> bool:
    """Whether other processes make this run together with this one.

    Helpers that Lightning starts find it decided by the first process. Of processes that a cluster starts all begin at
    once, and one that waited for another would never end: there, and under torchrun, each run is made anew.
    """
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS") or 1) > 1

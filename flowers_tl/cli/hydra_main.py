"""A door: a function of a config made into a command, whose bad input ends in one sentence and exit code 1."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, read_write

from flowers_tl.cli.sweep_summary import Failure, SweepSummary, in_sweep
from flowers_tl.config.error_messages import MULTIRUN, explain_error, split_arguments
from flowers_tl.config.schema import CONF
from flowers_tl.utils.errors import print_error

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")  # as the user has it: a door sets it for Hydra while it runs


def hydra_main(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Decorate a function of a config into a command that Hydra composes from ``conf/<config_name>.yaml``.

    What goes wrong is told in one sentence with exit code 1, and no stack trace unless HYDRA_FULL_ERROR=1. In a multirun
    a job that fails does not stop the others; a value that can't be composed stops the sweep before its first job. An
    interruption exits with 130 (Ctrl-C) or 143 (SIGTERM), so that a script can tell it from success.
    """

    def decorate(job: Callable[[DictConfig], object]) -> Callable[[], None]:
        failed, place = False, None

        def told(error: Exception) -> None:
            nonlocal failed
            failed = True
            if os.environ.get("LOCAL_RANK", "0") == "0":  # helper processes meet the same error
                print_error(explain_error(error))

        @functools.wraps(job)
        def guarded(cfg: DictConfig) -> object:
            nonlocal place
            try:
                with environment("HYDRA_FULL_ERROR", FULL_ERROR), as_single_command():
                    return job(cfg)
            except Exception as error:
                if FULL_ERROR:
                    raise
                told(error)
                if in_sweep(HydraConfig.get()):
                    return Failure(explain_error(error))  # so that Hydra goes on with the next job
                raise SystemExit(1) from None
            finally:  # where the job was done: as `going_on_in` may have said
                place = None if in_sweep(HydraConfig.get()) else Path(HydraConfig.get().run.dir)

        run = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)

        def main() -> None:
            # Hydra takes no flag between overrides; put first, -m and the others may stand anywhere.
            flags, overrides = split_arguments(sys.argv[1:])
            sys.argv[1:] = [*flags, *overrides]
            # With this set Hydra lets its exceptions through instead of printing them, so that they can be put plainly.
            with environment("HYDRA_FULL_ERROR", "1"):
                try:
                    run()
                except (KeyboardInterrupt, SystemExit) as stop:
                    # Lightning turns Ctrl-C into sys.exit(1) and SIGTERM into an exit that looks like success.
                    terminated = type(stop).__name__ == "SIGTERMException"
                    if failed or not (terminated or isinstance(stop.__context__ or stop, KeyboardInterrupt)):
                        raise
                    print_error(f"interrupted{how_to_resume(place)}.")
                    raise SystemExit(143 if terminated else 130) from None
                except Exception as error:  # Hydra refused: what a job raises ends in `guarded`
                    if FULL_ERROR:
                        raise
                    told(error)
            if failed or SweepSummary.failed:  # a job in a process of its own can't set `failed` here
                raise SystemExit(1)

        return main

    return decorate


@contextmanager
def as_single_command() -> Iterator[None]:
    """Let the command line stand for this one job while it runs.

    A run on several devices starts its helper processes with ``sys.argv``, and with the run folder that Hydra knows: in
    a multirun each of them would begin the whole sweep again.
    """
    hydra_config, argv = HydraConfig.get(), sys.argv
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    flags, _ = split_arguments(argv[1:])
    kept = [flag for flag in flags if flag not in MULTIRUN]
    sys.argv = [argv[0], *kept, *hydra_config.overrides.task, "hydra.mode=RUN"]
    try:
        yield
    finally:
        sys.argv = argv


def how_to_resume(place: Path | None) -> str:
    """What to type after an interruption of the run in ``place``; None is a sweep, which finds its runs itself."""
    if place is None:
        return "; the same command goes on after the last epoch that was finished"
    if not (place / "checkpoints" / "last.ckpt").is_file():
        return " before an epoch was finished: begin anew"
    folder = os.path.relpath(place) if place.is_relative_to(Path.cwd()) else place
    return f"; to go on from the last epoch that was finished: hydra.run.dir={folder} ckpt_path=last"


def continue_in(folder: Path) -> None:
    """Let this job's helper processes go on with the run in ``folder``: they know only the command line."""
    hydra_config = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = str(folder)
    sys.argv.append("ckpt_path=last")


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable for a while; None removes it."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before

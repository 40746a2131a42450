"""A function of a config made into a command that Hydra composes; bad input ends in one sentence and exit code 1."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, read_write

from flowers_tl.cli.config_help import config_help, list_choices, list_keys
from flowers_tl.cli.empty_values import EmptyValues
from flowers_tl.cli.exit import exit_on_error, messages_printed, print_error
from flowers_tl.cli.help import exit_after_help
from flowers_tl.cli.options import explain_flag
from flowers_tl.cli.sweep_summary import Failure, SweepSummary, in_sweep
from flowers_tl.config.compose import validate_overrides
from flowers_tl.config.hydra_errors import explain_error
from flowers_tl.config.schema import CONF
from flowers_tl.utils.errors import UserError

MULTIRUN = ("-m", "--multirun")
FLAGS_WITH_VALUE = [
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
]
# As the user has it: a command sets it for Hydra while it runs.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR")
explain_run_error = functools.partial(
    explain_error,
    path_remedy="check the path, or use another folder with hydra.run.dir=DIR (in a sweep hydra.sweep.dir=DIR)",
)


def hydra_main(job: Callable[[DictConfig], object]) -> Callable[[], None]:
    """Decorate a function of a config into a command that Hydra composes from ``conf/train.yaml``.

    An error is printed as one sentence and the exit code is 1; the stack trace is shown with HYDRA_FULL_ERROR=1. In a
    multirun a job that fails does not stop the others; a value that can't be composed stops the sweep before its first
    job. The function is the job: it runs in this process or, by some launchers, in another.
    """

    failed, hydra_config = False, None

    @functools.wraps(job)
    def run_job(config: DictConfig) -> object:
        nonlocal failed, hydra_config
        hydra_config = HydraConfig.get()
        try:
            with messages_printed(), environment("HYDRA_FULL_ERROR", FULL_ERROR), as_single_command():
                return job(config)
        except Exception as error:
            if FULL_ERROR or isinstance(error, BrokenPipeError):
                raise
            failed = True
            print_error(explain_run_error(error))
            if in_sweep(hydra_config):
                # Returned, so that Hydra goes on with the next job.
                return Failure(explain_run_error(error))
            raise SystemExit(1) from None
        finally:
            # A job that has written nothing leaves no folder: what Hydra made goes, as far as it is empty.
            sweep = in_sweep(hydra_config)
            with suppress(OSError):
                for made in [Path(hydra_config.runtime.output_dir)] if sweep else EmptyValues.made:
                    made.rmdir()

    compose_and_run = hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(run_job)

    def main() -> None:
        nonlocal failed
        failed = SweepSummary.failed = False
        # Hydra takes no flag between overrides; put first, -m and the others may stand anywhere.
        flags, overrides = split_arguments(sys.argv[1:])
        with exit_on_error(lambda: how_to_resume(hydra_config), explain_run_error):
            exit_after_help(sys.argv[1:], lambda: config_help(job.__doc__ or ""))
            validate_words(flags, overrides, sys.argv[1:])
            sys.argv[1:] = [*flags, *overrides]
            # With this set Hydra lets its exceptions through instead of printing them.
            with environment("HYDRA_FULL_ERROR", "1"):
                compose_and_run()
        # A job in a process of its own can't set `failed` here.
        if failed or SweepSummary.failed:
            raise SystemExit(1)

    return main


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into Hydra's flags (with their values) and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        (flags if argument.startswith("-") else overrides).append(argument)
        if argument in FLAGS_WITH_VALUE and rest:
            flags.append(rest.pop(0))
    return flags, overrides


def validate_words(flags: Sequence[str], overrides: Sequence[str], words: Sequence[str]) -> None:
    """Raise UserError for a flag among the words of a command line that Hydra does not know, or what is no key=value."""

    def raise_error(message: str) -> None:
        raise UserError(f"{message[0].upper()}{message[1:]}: --hydra-help lists the flags.")

    parser = get_args_parser()
    # argparse would print its usage and exit.
    parser.error = raise_error
    for word in parser.parse_known_args(list(flags))[1]:
        flag, _, value = word.partition("=")
        known = {key: "VALUE" for key, *_ in list_keys()} | dict.fromkeys(list_choices(), "NAME")
        raise UserError(explain_flag(flag, value or " ".join(words[words.index(word) + 1 :][:1]), known))
    validate_overrides(overrides)
    for word in overrides:
        if word.startswith("=") or ("=" not in word and not word.startswith("~")):
            raise UserError(
                f"'{word}' can't be read as key=value: type a key, '=' and a value, without spaces between them."
            )


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


def how_to_resume(hydra_config: DictConfig | None) -> str:
    """What to type after an interruption of a job, None before it began; a sweep finds its runs itself."""
    if hydra_config is None or in_sweep(hydra_config):
        return "; give the same command again to continue after the last finished epoch"
    # As `continue_in` may have set it.
    folder = Path(hydra_config.run.dir)
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        return " before an epoch was finished; give the same command again"
    shown = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else folder
    return f"; to continue after the last finished epoch, add hydra.run.dir={shown} ckpt_path=last"


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

"""How every command ends: what it prints of messages and errors, and its exit code.

0 is success, 1 bad input or a failure, 130 Ctrl-C, 143 SIGTERM. The library logs to the logger ``flowers_tl``; a command
prints these records as they are: answers (INFO) to stdout, notes and errors (WARNING and above) to stderr.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import lacks_room
from flowers_tl.utils.interruption import exit_callbacks, is_first_process


class MessagePrinter(logging.Handler):
    """Prints a record's message to what sys.stdout or sys.stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_first_process():
            stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
            print(record.getMessage(), file=stream, flush=True)


PRINTER = MessagePrinter()


@contextmanager
def messages_printed() -> Iterator[None]:
    """Print what the library logs; within another such context this one changes nothing."""
    logger = logging.getLogger("flowers_tl")
    if PRINTER in logger.handlers:
        yield
        return
    before = logger.level, logger.propagate
    logger.addHandler(PRINTER)
    logger.setLevel(logging.INFO)
    # Hydra's handlers of the root logger would print each record once more.
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(PRINTER)
        logger.level, logger.propagate = before


def print_error(sentence: object, stream: TextIO | None = None) -> None:
    """Print an error's sentence to stderr; the helper processes of a run meet the same error, and print nothing."""
    if is_first_process():
        print(f"Error: {sentence}", file=stream or sys.stderr, flush=True)


@contextmanager
def exit_on_error(
    resume: Callable[[], str] = lambda: "", explain: Callable[[Exception], str] | None = None
) -> Iterator[None]:
    """Run a command's body: an error becomes one sentence and exit code 1, an interruption 130 or 143.

    HYDRA_FULL_ERROR=1 shows the stack trace instead of the sentence. File names whose bytes are no text of this terminal
    are printed with escapes.

    Args:
        resume: what to add to the sentence about an interruption: how the work goes on.
        explain: puts an error into a sentence; default: :func:`flowers_tl.config.hydra_errors.explain_error`.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Not what stands for stderr later: a search's trial writes into its log.
    before, stream = exit_callbacks[0], sys.stderr
    exit_callbacks[0] = lambda number: print_error(f"interrupted{resume()}.", stream)
    try:
        with messages_printed():
            # Without one libraries end the process without a reason.
            try:
                os.getcwd()
            except FileNotFoundError as error:
                raise UserError(
                    "The folder in which this command starts was removed: go to another with cd."
                ) from error
            yield
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough: what is left in the buffer goes nowhere.
        discard_stdout()
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        code = interruption_code(stop)
        if code is None:
            raise
        print_error(f"interrupted{resume()}.")
        raise SystemExit(code) from None
    except Exception as error:
        if lacks_room(error) and not getattr(error, "filename", None) and not isinstance(error, UserError):
            discard_stdout()
            error = UserError(f"What the command prints can't be written ({error}): free some space where it goes.")
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        if explain is None and not isinstance(error, UserError):
            # Imported late: it needs Hydra, which takes its time.
            from flowers_tl.config.hydra_errors import explain_error as explain
        print_error(explain(error) if explain else error)
        sys.exit(1)
    finally:
        exit_callbacks[0] = before


def discard_stdout() -> None:
    """Let what is left to be printed go nowhere: Python would fail to print it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interruption_code(stop: BaseException) -> int | None:
    """130 after Ctrl-C, 143 after SIGTERM, None for any other exit: where a program calls a command's function itself.

    Lightning turns Ctrl-C into sys.exit(1), and SIGTERM into an exit that looks like success.
    """
    if type(stop).__name__ == "SIGTERMException":
        return 143
    return 130 if isinstance(stop.__context__ or stop, KeyboardInterrupt) else None

"""One place decides how a command ends: what it prints where, and its exit code."""

import logging
import subprocess
import sys
from functools import partial

import pytest

from flowers_tl.cli.exit import exit_on_error, messages_printed
from flowers_tl.utils.errors import UserError


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"import logging\nfrom flowers_tl.cli.exit import *\n{code}"]
    return subprocess.run(command, text=True, capture_output=True)


class SIGTERMException(SystemExit):
    """As Lightning's, which looks like success."""


def chained() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)  # as Lightning does it


def failing(error: BaseException) -> None:
    raise error


ENDS = {
    "bad input": (partial(failing, UserError("No such thing: name another.")), 1, "Error: No such thing: name another.\n"),
    "a fault": (
        partial(failing, ValueError("odd\nmore")), 1,
        "Error: ValueError: odd (HYDRA_FULL_ERROR=1 shows where it came from).\n",
    ),
    "a path": (partial(failing, FileNotFoundError("gone")), 1, "Error: gone: check the path.\n"),
    "Ctrl-C": (partial(failing, KeyboardInterrupt()), 130, "Error: interrupted; go on.\n"),
    "Ctrl-C in Lightning": (chained, 130, "Error: interrupted; go on.\n"),
    "SIGTERM in Lightning": (partial(failing, SIGTERMException()), 143, "Error: interrupted; go on.\n"),
    "its exit": (partial(failing, SystemExit(5)), 5, ""),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_every_end_has_its_code_and_one_sentence(end, capsys, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    body, code, printed = ENDS[end]
    with pytest.raises(SystemExit) as stop, exit_on_error(lambda: "; go on"):
        body()
    assert (stop.value.code, capsys.readouterr().err) == (code, printed)


def test_a_working_folder_that_was_removed_is_named_before_anything_begins(capsys, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit, match="1"), exit_on_error():
        pytest.fail("the command has begun")
    assert (
        capsys.readouterr().err
        == "Error: The folder in which this command starts was removed: go to another with cd.\n"
    )


@pytest.mark.parametrize("error", [UserError("No."), ValueError("odd")])
def test_the_stack_trace_is_shown_on_request(error, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)), exit_on_error():
        raise error


def test_a_reader_that_has_read_enough_is_no_error():
    code = "with exit_on_error():\n for k in range(100_000): print('word', k)"
    command = [sys.executable, "-c", f"from flowers_tl.cli.exit import *\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_the_library_is_silent_where_nobody_listens_and_a_command_prints_it_unadorned():
    talk = "log = logging.getLogger('flowers_tl.data.x')\nlog.info('an answer')\nlog.warning('Note: 5 % left')"
    silent = run(f"logging.getLogger('flowers_tl').setLevel('ERROR')\n{talk}")
    assert (silent.stdout, silent.stderr) == ("", "")
    # The root logger is Hydra's in a sweep: nothing is printed twice.
    command = run("logging.basicConfig()\nwith exit_on_error():\n " + talk.replace("\n", "\n "))
    assert (command.stdout, command.stderr) == ("an answer\n", "Note: 5 % left\n")


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_PROCID"])
def test_helper_processes_repeat_no_error(name, capsys, monkeypatch):
    def body() -> None:
        logging.getLogger("flowers_tl").warning("Note: what the first process says.")
        raise UserError("No.")

    monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit), exit_on_error():
        body()
    assert capsys.readouterr().err == ""


def test_after_a_command_the_logger_is_as_it_was():
    logger = logging.getLogger("flowers_tl")
    from flowers_tl.cli.exit import PRINTER

    logger.removeHandler(PRINTER)
    before = logger.level, logger.propagate, list(logger.handlers)
    with messages_printed(), messages_printed():
        pass
    assert (logger.level, logger.propagate, list(logger.handlers)) == before

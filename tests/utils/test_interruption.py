"""A command that is interrupted ends at once, wherever it is, after its last words."""

import os
import signal
import subprocess
import sys
import time

import pytest

# Tells when it is at work, and where: in Python, in code that is not Python's, and where each exception is dropped.
COMMAND = """
import ctypes, gc, os, sys, time
from flowers_tl.utils.interruption import before_end, handle_signals
handle_signals()

class Dropping:
    def __del__(self):
        while True:
            time.sleep(0.01)

WORDS = {"a record": lambda number: print("recorded", number, flush=True), "words that hang": lambda number: time.sleep(60)}

def work(place):
    with before_end(WORDS.get(place, lambda number: None)):
        print("at work", flush=True)
        if place == "C":
            ctypes.CDLL(None).sleep(60)
        elif place == "__del__":
            Dropping()
        time.sleep(60)

from flowers_tl.utils import interruption
interruption.GRACE = 0.5
work(sys.argv[1])
"""


def start(place: str, code: str = COMMAND, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code, place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("place", ["Python", "C", "__del__", "a record"])
def test_a_signal_ends_a_command_wherever_it_is(place, number):
    process = start(place)
    process.send_signal(number)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert errors == "Error: interrupted.\n"
    assert out == (f"recorded {number.value}\n" if place == "a record" else "")


def test_words_that_do_not_end_are_cut_short():
    process = start("words that hang")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("Python")
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.terminate()
    assert process.wait(timeout=10) == 143


PARENT = """
import subprocess, sys, time
from flowers_tl.utils.interruption import handle_signals
handle_signals()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], "Python"], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print("at work", flush=True)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("rank", ["", "1"])
def test_a_command_ends_with_the_one_that_started_it(rank):
    process = start(COMMAND, PARENT, **({"LOCAL_RANK": rank} if rank else {}))
    child = int(process.stdout.readline())
    process.kill()
    end = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_command_that_a_shell_has_started_is_not_taken_for_an_orphan():
    # The thread looks at its parent each second.
    inner = "import time; from flowers_tl.utils.interruption import handle_signals; handle_signals(); time.sleep(2)"
    outer = """
import subprocess, sys
from flowers_tl.utils.interruption import handle_signals
handle_signals()
print("at work", flush=True)
sys.exit(subprocess.run(["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, sys.argv[1]]).returncode)
"""
    assert start(inner, outer).wait(timeout=60) == 0


def test_a_helper_process_that_is_told_to_stop_ends_the_first_one():
    # Its own child is the helper: the first process has no rank.
    parent = PARENT.replace("text=True)", 'text=True, env={**__import__("os").environ, "LOCAL_RANK": "1"})')
    process = start(COMMAND, parent)
    child = int(process.stdout.readline())
    os.kill(child, signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    assert process.stderr.read() == "Error: interrupted.\n"


def is_alive(pid: int) -> bool:
    """Whether a process has not ended, were it only that nobody has asked for its exit code."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

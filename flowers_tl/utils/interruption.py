"""SIGINT and SIGTERM end a command wherever it is: at once, with a sentence, and with a record that says so.

All files are whole after a kill at any moment, so nothing is gained by unwinding, and much is lost: an exception is dropped
where C code calls Python, and a process whose main thread waits for another device never sees it. A thread, which the
operating system's own handler wakes, says what there is to say and ends the process.
"""

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Environment variable: the process id of the command that started this one, and waits for it.
PARENT = "FLOWERS_TL_PARENT"
# Seconds after which the process ends whatever hinders its last words, as a pipe that nobody reads.
GRACE = 15
# What is to be done before the end, the newest first: functions of the signal's number.
exit_callbacks: list[Callable[[int], object]] = [lambda number: print("Error: interrupted.", file=sys.stderr)]


def handle_signals() -> None:
    """Handle the signals from here on, unless they are ignored (nohup), and end when the command that began this one ends."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, park_main_thread)
            # Once all is done, the process ends with its own code.
            atexit.register(signal.signal, number, signal.SIG_IGN)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=reset_in_fork)
    # Who started a shell or a cluster's job between is not waited for.
    parent = os.getppid() if os.environ.get(PARENT) == str(os.getppid()) else 0
    os.environ[PARENT] = str(os.getpid())
    # Both sockets live as long as the thread.
    threading.Thread(target=wait_for_signal, args=(parent, reader, writer), daemon=True).start()


def park_main_thread(*_: object) -> None:
    """The main thread does nothing more, so that what is said last stays true."""
    threading.Event().wait(2 * GRACE)


def reset_in_fork() -> None:
    """In a fork, as a data loader's worker is: it ends with its parent."""
    signal.set_wakeup_fd(-1)
    for number, action in zip(SIGNALS, (signal.SIG_IGN, signal.SIG_DFL), strict=True):
        if signal.getsignal(number) is park_main_thread:
            signal.signal(number, action)


def wait_for_signal(parent: int, reader: socket.socket, writer: socket.socket) -> None:
    """Wait for a signal, or for the parent's end where there is one (not 0), and end this process."""
    reader.settimeout(1)
    number = 0
    while number not in SIGNALS:
        with suppress(TimeoutError):
            number = reader.recv(1)[0]
        if parent and os.getppid() != parent:
            number = signal.SIGTERM
    threading.Timer(GRACE, os._exit, [128 + number]).start()
    # The main thread comes to rest meanwhile.
    time.sleep(0.05)
    if is_first_process():
        while exit_callbacks:
            with suppress(Exception):
                exit_callbacks.pop()(number)
    elif parent:
        # Lightning kills the first process without a word when a helper process has ended before it.
        while os.getppid() == parent:
            os.kill(parent, number)
            time.sleep(0.1)
    os._exit(128 + number)


@contextmanager
def before_end(words: Callable[[int], object]) -> Iterator[None]:
    """Within this context an interruption calls ``words`` with the signal's number before the process ends."""
    exit_callbacks.append(words)
    try:
        yield
    finally:
        with suppress(ValueError):
            exit_callbacks.remove(words)


def is_first_process() -> bool:
    """False in the helper processes of a job on several devices."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_PROCID"))

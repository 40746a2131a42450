"""One process at a time: a lock that the operating system lets go of when its process dies.

Locks' files hold nothing, are called ``.lock`` or ``.HASH.lock``, and are never removed: another process may wait for one.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log


def lock_or_fail(lock: FileLock, what: str) -> AcquireReturnProxy:
    """Take the lock; raise UserError where another process works on ``what`` it stands for.

    Used in a with statement, the result lets go of it at the end.
    """
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another process works on {what}: wait until it has finished.") from error


@contextmanager
def lock_or_wait(file: Path, message: str, waiting: AbstractContextManager | None = None) -> Iterator[None]:
    """Hold the lock in ``file``; where another process has it, log the ``message`` and wait, within ``waiting``."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning(message)
        with waiting or nullcontext():
            lock.acquire()
    try:
        yield
    finally:
        lock.release()

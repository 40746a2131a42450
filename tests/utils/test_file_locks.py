"""One at a time: who comes second is refused, or is told and waits."""

import threading
from contextlib import contextmanager

import pytest
from filelock import FileLock

from flowers_tl.utils.errors import UserError
from flowers_tl.utils.file_locks import lock_or_fail, lock_or_wait


def test_a_lock_that_another_has_is_refused_and_free_afterwards(tmp_path):
    refused = pytest.raises(UserError, match=r"^Another process works on the run: wait until it has finished\.$")
    with lock_or_fail(FileLock(tmp_path / ".lock"), "the run"), refused:
        lock_or_fail(FileLock(tmp_path / ".lock"), "the run")
    with lock_or_fail(FileLock(tmp_path / ".lock"), "the run"):
        pass


def test_who_comes_second_is_told_once_and_waits(tmp_path, caplog):
    order, waits = [], threading.Event()

    @contextmanager
    def waiting():
        waits.set()
        yield
        order.append("waited")

    def second():
        with lock_or_wait(tmp_path / ".lock", "Waiting for another.", waiting()):
            order.append("second")

    with lock_or_wait(tmp_path / ".lock", "Nobody is there.", waiting()):
        assert not waits.is_set()
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(timeout=30)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "waited", "second"]
    assert [record.message for record in caplog.records] == ["Waiting for another."]


def test_an_error_lets_go_of_the_lock_and_its_file_stays(tmp_path):
    with pytest.raises(ValueError, match="bad"), lock_or_wait(tmp_path / ".lock", "Waiting."):
        raise ValueError("bad")
    assert (tmp_path / ".lock").is_file()
    with lock_or_fail(FileLock(tmp_path / ".lock"), "the run"):
        pass

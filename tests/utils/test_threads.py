"""Work on all cores gives what work on one does."""

import subprocess
import sys
import time
from threading import Barrier

import pytest

from flowers_tl.utils.threads import count_cores, map_in_threads


def test_results_stand_in_the_order_of_the_items():
    def slow_first(item):
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    assert list(map_in_threads(slow_first, iter(range(20)))) == [item * item for item in range(20)]


def test_each_core_has_work_at_the_same_time():
    everybody = Barrier(count_cores())
    assert all(place >= 0 for place in map_in_threads(lambda _: everybody.wait(timeout=10), range(count_cores())))


def test_an_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda item: 1 / item, [1, 0]))


def test_no_more_is_computed_ahead_than_cores_can_do_soon():
    begun = []
    results = map_in_threads(begun.append, range(10_000))
    next(results)
    results.close()
    assert 0 < len(begun) < 10_000


WORKER = """
import multiprocessing, os, time
from flowers_tl.utils.threads import exit_with_parent

def work():
    exit_with_parent(0)
    print(os.getpid(), flush=True)
    time.sleep(300)

multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(300)
"""


def test_a_worker_ends_with_the_process_it_works_for():
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE) as process:
        assert int(process.stdout.readline())
        process.kill()
        # The end of what is printed: the worker, which could print more, has ended too.
        assert process.communicate(timeout=60) == (b"", None)

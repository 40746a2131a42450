"""Work on all cores gives what work on one does."""

import time
from os import cpu_count
from threading import Barrier

import pytest

from flowers_tl.utils.threads import map_on_all_cores


def test_results_stand_in_the_order_of_the_items():
    def slow_first(item):
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    assert map_on_all_cores(slow_first, iter(range(20))) == [item * item for item in range(20)]


def test_each_core_has_work_at_the_same_time():
    everybody = Barrier(cpu_count() or 1)
    assert all(place >= 0 for place in map_on_all_cores(lambda _: everybody.wait(timeout=10), range(cpu_count() or 1)))


def test_an_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        map_on_all_cores(lambda item: 1 / item, [1, 0])

"""Work on all cores of this machine, and workers that do not outlive the process they work for."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Results that wait for whoever takes them, by core: enough for no core to wait, few enough for the memory of large images.
AHEAD = 4


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The function's result for each item, in their order; for functions that give Python's lock back, as decoders do.

    Threads compute the next results while a result is used.
    """
    cores, waiting = count_cores(), deque[Future[Result]]()
    pool = ThreadPoolExecutor(cores)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def exit_with_parent(worker: int) -> None:
    """End a worker whose run was killed; PyTorch looks at the process that forked it: under forkserver that is a server."""
    parent: Any = multiprocessing.parent_process()
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()

"""Work on all cores of this machine."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_all_cores(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The function's result for each item, in their order; for functions that give Python's lock back, as decoders do."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(function, items))

"""The rows of a cache entry, written to its file while the next ones are computed."""

import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import torch
from torch import Tensor

from flowers_tl.utils.threads import AHEAD


class Writer:
    """Writes an entry's rows as they are computed, with their checksum; ``needed``: the costs of entries that they come from.

    A thread of its own writes one row while the next ones are computed. The rows are complete when the ``with`` block ends.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes, self.checksum = file, 0, 0
        self.shapes: list[list[int]] = []
        self.needed: dict[str, float | None] = {}
        self.thread, self.waiting = ThreadPoolExecutor(1), deque[Future[None]]()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.thread.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for row in self.waiting:
                row.result()

    def write(self, row: Tensor) -> None:
        """Append one row, which must stay as it is; rows may have unlike shapes. Raises OSError, of an earlier row too."""
        raw = memoryview(row.cpu().contiguous().flatten().view(torch.uint8).numpy())
        self.shapes.append(list(row.shape))
        self.waiting.append(self.thread.submit(self._append, raw))
        # Few enough for the memory of large rows.
        while len(self.waiting) > AHEAD:
            self.waiting.popleft().result()

    def _append(self, raw: memoryview) -> None:
        self.file.write(raw)
        self.checksum = zlib.crc32(raw, self.checksum)
        self.bytes += len(raw)

"""Worker processes that do not outlive the process they work for."""

import multiprocessing
import os
from threading import Thread
from typing import Any


def end_with_parent(worker: int) -> None:
    """End a worker whose run was killed; PyTorch looks at the process that forked it: under forkserver that is a server."""
    parent: Any = multiprocessing.parent_process()
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()

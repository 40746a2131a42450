"""No Ctrl-C is lost: what the signal raised may vanish, the signal itself is remembered."""

import signal
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch.callbacks import Callback


class Interruption(Callback):
    """Within this context an interruption whose exception was dropped is raised again at the trainer's next batch.

    Python raises KeyboardInterrupt wherever it happens to be. In a property that C code asks for, as PyTorch's writer
    of checkpoints does, it is taken for a missing attribute and dropped, and the run trains on: where epochs are
    short, one Ctrl-C in thirty. Outside the main thread, or where the signal is ignored, nothing is changed.
    """

    received = False

    def __enter__(self) -> "Interruption":
        self.before = signal.getsignal(signal.SIGINT)
        self.listens = current_thread() is main_thread() and callable(self.before)
        if self.listens:
            signal.signal(signal.SIGINT, self.remember)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.before)

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal as it was handled before, and know of it."""
        self.received = True
        self.before(number, frame)

    def stop_if_received(self, *_: Any) -> None:
        """Raise what was dropped."""
        if self.received:
            raise KeyboardInterrupt

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = stop_if_received

"""A training run that kills itself before its n-th change of a file: ``python -m tests.campaign.killable N CONFIG FOLDER``.

N of 0 kills nothing and prints at the end the CPU seconds of this thread, and how many changes there were. CONFIG is a JSON file of the whole config; ``train`` in its place
means that the words behind it are those of the command. Changes are files opened for writing, renames, removals, folders.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


class Changes:
    """Counts the changes of files; kills this process before number ``last``."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in CHANGES or (event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            return
        if str(arguments[0]).startswith(("/dev/", "/proc/")):
            return
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    number, what, *words = sys.argv[1:]
    sys.addaudithook(changes := Changes(int(number)))
    if what == "train":
        from flowers_tl.train import main as train

        sys.argv = ["-m", *words]
        train()
    else:
        from flowers_tl.training.run_once import train_once

        train_once(json.loads(Path(what).read_text()), Path(words[0]))
    print(f"{time.thread_time()} {changes.count}", file=sys.stderr)


if __name__ == "__main__":
    main()

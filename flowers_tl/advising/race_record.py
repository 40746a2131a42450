"""What is kept of a race in its folder, beside its runs: race.json."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from flowers_tl.runs.read_record import read_mapping
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write, dumps

# What a race leaves in its folder.
FILES = {".lock", "race.json", "log.txt", "runs", "report", "advice.json", "advice.html"}


class RaceRecord:
    """A folder that belongs to one question, claimed on entry; what ends before its first step leaves nothing.

    Attributes:
        question: what is asked.
        spent: seconds of each step so far.
        inputs: fingerprints of the images and of the weights by network, which must stay the same.
        took: what each run's record says of its seconds by phase, before its test.

    Raises:
        UserError: if the folder holds anything else, its race.json is damaged, or another process works in it.
    """

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        self.folder, self.question, self.lock = folder, question, FileLock(folder / ".lock")
        self.spent: dict[str, float] = {}
        self.took: dict[str, dict[str, float]] = {}
        self.inputs: dict[str, Any] = {}

    def __enter__(self) -> Self:
        file = self.folder / "race.json"
        same = not self.folder.exists() or {one.name for one in self.folder.iterdir()} <= FILES
        if file.is_file():
            try:
                earlier = read_mapping(file)
                self.spent = {str(name): float(seconds) for name, seconds in earlier["spent"].items()}
                self.took = {name: {**seconds} for name, seconds in earlier["took"].items()}
                self.inputs = {**earlier["inputs"]}
                same = earlier["question"] == self.question or not self.spent
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{file} is damaged: remove it, and give the same command again; finished runs are not made again."
                ) from error
        if not same:
            raise UserError(
                f"{self.folder} holds other files, or the advice on another question: use a new folder with out=DIR."
            )
        self.new_folders = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        lock_or_fail(self.lock, f"the race in {self.folder}")
        return self

    def __exit__(self, *_: object) -> None:
        # While it is locked: another process may begin a race there.
        with suppress(OSError):
            for folder in () if self.spent else self.new_folders:
                (self.folder / ".lock").unlink(missing_ok=True)
                folder.rmdir()
        self.lock.release()

    def count(self, step: str, begun: float) -> None:
        """Count the seconds of a step; one that was stopped counts again from where it goes on."""
        self.spent[step] = round(self.spent.get(step, 0.0) + time.monotonic() - begun, 2)
        # The folder was empty, or says the same question.
        kept = {name: getattr(self, name) for name in ("question", "inputs", "spent", "took")}
        with atomic_write(self.folder / "race.json") as beside:
            beside.write_text(dumps(kept, indent=2) + "\n", encoding="utf-8")

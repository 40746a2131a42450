"""What a run leaves in its folder: the resolved config, ``history.csv`` and ``result.json``."""

import csv
import json
import math
import platform
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from flowers_tl.config.keys import add_later_keys
from flowers_tl.runs.read_record import KINDS, read_mapping, read_text
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.file_locks import lock_or_fail
from flowers_tl.utils.files import atomic_write, dumps, format_csv, lacks_room, named_if_unwritable
from flowers_tl.utils.interruption import before_end
from flowers_tl.utils.phase_timer import PhaseTimer

PACKAGES = ("flowers_tl", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")

# What a run is called that is trained and validated, and whose test is still to be made.
UNTESTED = "untested"

# All that a run writes into its folder, beside its lock. A run begins only where none of it lies, so what lies there
# later was written by that run, and may be overwritten and removed: the record last, since it identifies the rest.
FILES = (
    "events.out.tfevents.*", "hparams.yaml", "csv/version_*/*", "head.pt", "predictions.npz", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    "history.csv", "config.yaml", "result.json",
)  # fmt: skip


class RunFolder:
    """A run's folder, claimed on entry; on exit ``result.json`` says how the run ended.

    Args:
        folder: where the run leaves its files; it may exist, but not hold a run.
        config: resolved config as yaml text, kept as ``config.yaml``.
        record: False in the helper processes of a run on several devices, which write nothing.
        continues: folder of the run that this one goes on with; it may be ``folder`` itself.
        first_epoch: with ``continues``: the epoch that comes next.
        clock: that counts the run's time since before the folder was claimed; None: it begins now.

    Raises:
        UserError: if the folder holds a run's files already, or another process works on it. None of them is touched then.
    """

    def __init__(
        self,
        folder: str | Path,
        config: str,
        record: bool = True,
        continues: Path | None = None,
        first_epoch: int = 0,
        clock: PhaseTimer | None = None,
    ) -> None:
        self.folder, self.config, self.record = Path(folder), config, record
        self.continues, self.first_epoch = continues, first_epoch
        self.result: dict[str, Any] = {"status": "running"}
        # What a run is that ends without an error.
        self.ending = "finished"
        self.clock = clock or PhaseTimer()
        self.history: list[dict[str, float]] = []
        # The lock, and what is said if the process ends.
        self.held = ExitStack()

    def __enter__(self) -> "RunFolder":
        if self.record:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                # By the operating system for as long as the process lives: a killed run leaves nothing locked.
                held.enter_context(lock_or_fail(FileLock(self.folder / ".lock"), f"the run in {self.folder}"))
                if self.continues is None or self.continues.resolve() != self.folder.resolve():
                    validate_unused(self.folder)
                self._take_over()
                self._replace("config.yaml", self.config)
                held.enter_context(before_end(self.interrupted))
                self.write()
                self.held = held.pop_all()
        return self

    def _take_over(self) -> None:
        """Take over the results of the run that this one goes on with, and its history before ``first_epoch``."""
        if self.continues is None:
            return
        try:
            if (file := self.continues / "result.json").is_file():
                earlier = read_mapping(file, KINDS)
                self.result |= {key: earlier[key] for key in ("solved_head", "command") if key in earlier}
                # A part that an earlier version has made does not say what the cache gave it.
                self.clock.add_earlier_run(
                    earlier.get("seconds", {}), earlier.get("kept") or {"an earlier version": None}
                )
            if (file := self.continues / "history.csv").is_file():
                for cells in csv.DictReader(read_text(file).splitlines()):
                    counts = {name: int(cells[name]) for name in ("epoch", "step")}
                    if counts["epoch"] < self.first_epoch:
                        self.history.append({name: float(cell) for name, cell in cells.items() if cell} | counts)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged, so its run can't continue: repair it, or start a new run.") from error
        # What was trained after the last whole epoch is lost, and trained again.
        self.clock.seconds["fit"] = self.history[-1].get("seconds", 0.0) if self.history else 0.0

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.result["status"] = self.ending
        else:
            failed = isinstance(error, Exception)
            self.result["status"] = getattr(error, "status", "failed" if failed else "interrupted")
            if failed:
                self.result["error"] = str(error) or type(error).__name__
        try:
            self.write()
        except UserError as unwritable:
            self._mark_failed(error or unwritable)
            removed = isinstance(error, Exception) and not (self.folder / "config.yaml").is_file()
            if error is None or removed:
                raise unwritable from error
        finally:
            self.held.close()
        if error and lacks_room(error) and not isinstance(error, UserError):
            # TensorBoard's writer names no file.
            with named_if_unwritable(self.folder):
                raise error

    def _mark_failed(self, error: BaseException) -> None:
        """Say in the record how the run ended where there is no room for a longer one."""
        with suppress(OSError, ValueError, StopIteration):
            file = self.folder / "result.json"
            before = file.read_text(encoding="utf-8")
            earlier = json.loads(before) | {"status": self.result["status"].replace("finished", "failed")}
            texts = (dumps(earlier | {"error": str(error)}), dumps(earlier))
            text = next(text for text in texts if len(text) <= len(before))
            # In its place: it takes no room. No kill can leave half of so few bytes.
            with open(file, "r+", encoding="utf-8") as content:
                content.write(text.ljust(len(before)))

    def interrupted(self, *_: object) -> None:
        """Say that the process's end came too early, unless the run was over."""
        if self.result["status"] == "running":
            self.result["status"] = "interrupted"
        self.write()

    def update(self, values: Mapping[str, Any]) -> None:
        """Add to what ``result.json`` says, and write it: what is known stays known if the run dies."""
        self.result |= values
        self.write()

    def write(self) -> None:
        """Write ``result.json`` as far as it is known: also how long it took so far, for a run that goes on with this one."""
        self.result |= {"seconds": self.clock.summary(), "kept": self.clock.kept}
        self._replace("result.json", dumps(self.result, indent=2) + "\n")

    def append_history(self, row: Mapping[str, float]) -> None:
        """Add one epoch's row to ``history.csv``; a cell stays empty where an epoch has no value (no validation, say)."""
        self.history.append(dict(row))
        self._replace("history.csv", format_csv(self.history))

    def _replace(self, name: str, text: str) -> None:
        if self.record:
            if name != "config.yaml" and not (self.folder / "config.yaml").is_file():
                raise UserError(f"{self.folder} was removed while its run was writing to it: start the run again.")
            with atomic_write(self.folder / name) as beside:
                beside.write_text(text, newline="", encoding="utf-8")


def run_files(folder: Path) -> list[Path]:
    """The files in a folder that a run has written there, half-written ones among them."""
    return [file for name in FILES for pattern in (name, f"{name}.new") for file in folder.glob(pattern)]


def validate_unused(folder: Path) -> None:
    """Raise UserError if a run in the folder would overwrite a file."""
    if files := run_files(folder):
        what = "a run" if (folder / "config.yaml").exists() else f"{files[0].relative_to(folder)}"
        raise UserError(
            f"{folder} holds {what} already: use another hydra.run.dir (or hydra.sweep.dir), or continue it with ckpt_path=last."
        )


def remove_files(folder: Path) -> None:
    """Remove the files that a run has written into its folder, the record last, and nothing else."""
    for file in run_files(folder):
        file.unlink()


def read_result(folder: Path) -> dict[str, Any]:
    """What ``result.json`` says; nothing where there is none, or it is not a run's."""
    try:
        result = read_mapping(folder / "result.json", KINDS)
    except (OSError, ValueError):
        return {}
    return result if "status" in result and result.get("seconds") is not None else {}


def read_config(folder: Path) -> dict[str, Any]:
    """The config of the run in a folder; keys that came later than the run have their defaults.

    Raises OSError or ValueError where there is none.
    """
    try:
        return add_later_keys(read_mapping(folder / "config.yaml"))
    except AttributeError as error:
        raise ValueError("its keys are not those of a run") from error


def head_of(result: Mapping[str, Any]) -> str | None:
    """Id of the run of many heads of which this is the record of one; None where it is no such head's."""
    return (result.get("heads_of") or {}).get("run")


def divergence_reason(result: Mapping[str, Any]) -> str | None:
    """Why a record is that of a run that diverged; None where it is not. Earlier versions called such runs finished."""
    if result.get("status") == "diverged":
        return str(result.get("error"))
    if result.get("status") != "finished":
        return None
    losses = {split: (result.get(split) or {}).get("loss") for split in ("val", "test")}
    wrong = [f"its {split} loss is {loss}" for split, loss in losses.items() if not math.isfinite(loss or 0)]
    return f"{' and '.join(wrong)}." if wrong else None


def command_words() -> list[str]:
    """The words of this run behind ``python -m flowers_tl.train``; none where a program of the user's trains."""
    of_train = Path(sys.argv[0]).parts[-2:] == ("flowers_tl", "train.py")
    return [word for word in sys.argv[1:] if not word.startswith("hydra.")] if of_train else []


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    packages = (*PACKAGES, "timm") if "timm" in sys.modules else PACKAGES
    return {"python": platform.python_version()} | {package: version(package) for package in packages}

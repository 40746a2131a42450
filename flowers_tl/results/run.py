"""What a run leaves in its folder: the resolved config, ``history.csv`` and ``result.json``."""

import csv
import io
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from flowers_tl.errors import UserError

PACKAGES = ("flowers_tl", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")


class RunFolder:
    """A run's folder, claimed on entry; on exit ``result.json`` says how the run ended.

    Args:
        folder: where the run leaves its files; it may exist, but not hold a run.
        config: resolved config as yaml text, kept as ``config.yaml``.
        record: False in the helper processes of a run on several devices, which write nothing.

    Raises:
        UserError: if the folder holds a run already. Nothing in it is touched.
    """

    def __init__(self, folder: str | Path, config: str, record: bool = True) -> None:
        self.folder, self.config, self.record = Path(folder), config, record
        self.result: dict[str, Any] = {"status": "running"}
        self.seconds: dict[str, float] = {}
        self.history: list[dict[str, float]] = []

    def __enter__(self) -> "RunFolder":
        self.began = time.perf_counter()
        if self.record:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                # "x" fails where the file is: the claim holds against a process that starts at the same moment too.
                with open(self.folder / "config.yaml", "x") as file:
                    file.write(self.config)
            except FileExistsError as error:
                raise UserError(
                    f"{self.folder} holds a run already: name another folder with hydra.run.dir=DIR."
                ) from error
            self.write()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.result["status"] = "finished"
        else:
            failed = isinstance(error, Exception)
            self.result["status"] = "failed" if failed else "interrupted"
            if failed:
                self.result["error"] = str(error) or kind.__name__
        self.seconds["total"] = time.perf_counter() - self.began
        self.result["seconds"] = {name: round(value, 2) for name, value in self.seconds.items()}
        self.write()

    def update(self, values: Mapping[str, Any]) -> None:
        """Add to what ``result.json`` says, and write it: what is known stays known if the run dies."""
        self.result |= values
        self.write()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the wall-clock seconds of a phase."""
        began = time.perf_counter()
        yield
        self.seconds[phase] = time.perf_counter() - began

    def write(self) -> None:
        """Write ``result.json`` as far as it is known."""
        self._replace("result.json", json.dumps(self.result, indent=2) + "\n")

    def append_history(self, row: Mapping[str, float]) -> None:
        """Add one epoch's row to ``history.csv``; a cell stays empty where an epoch has no value (no validation, say)."""
        self.history.append(dict(row))
        columns = dict.fromkeys(key for row in self.history for key in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self.history)
        self._replace("history.csv", text.getvalue())

    def _replace(self, name: str, text: str) -> None:
        """Write a file beside and rename it: whoever reads it finds all of it."""
        if self.record:
            beside = self.folder / f"{name}.new"
            beside.write_text(text, newline="")
            os.replace(beside, self.folder / name)


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}

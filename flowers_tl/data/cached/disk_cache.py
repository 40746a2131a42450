"""The cache on disk: entries under a key of all that their content follows from.

An entry is a folder ``<kind>-<key>`` with ``data.bin`` (rows one after another) and ``meta.json``: what the entry was made
from, its shapes, and a checksum. The key is a hash of the description, so other images, weights or versions have another
key and nothing stale is ever read. Entries are built under a lock, beside their place, and renamed when they are complete.
"""

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from flowers_tl.data.cached.writer import Writer
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.file_locks import lock_or_wait
from flowers_tl.utils.notes import log_note
from flowers_tl.utils.phase_timer import PhaseTimer

# Part of every key: a change of what is written makes new entries.
FORMAT = 3
# Names of entries' folders.
ENTRY = re.compile(r"[a-z]+-[0-9a-f]{20}")
# What an entry's folder holds: one that holds anything else is not ours to remove.
FILES = {"data.bin", "meta.json"}
BUILDING = ".building-"
# Checksums of the files that this process has read or written: by path, size, time.
_sums: dict[tuple[str, int, int], int] = {}


def default_folder() -> Path:
    """The folder that FLOWERS_TL_CACHE names, else the user's cache folder by the convention of the operating system."""
    if folder := os.environ.get("FLOWERS_TL_CACHE"):
        return Path(folder).expanduser()
    # Version 0.1.0 kept this folder on every system: where it is, its entries are still found.
    earlier = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowers_tl"
    return earlier if earlier.is_dir() else platformdirs.user_cache_path("flowers_tl", appauthor=False)


class Entry:
    """A complete entry: its rows, mapped from the file, and by name the costs of it and of entries that it was built from."""

    def __init__(self, file: Path, meta: Mapping[str, Any]) -> None:
        self.shapes: list[list[int]] = meta["shapes"]
        # Earlier versions recorded none.
        self.costs: dict[str, float | None] = meta.get("seconds", {file.parent.name: None})
        size = meta["bytes"]
        # Mapped at once: another process may remove the file to make room, and what is mapped stays. Nothing can't be mapped.
        self.bytes = torch.from_file(str(file), size=size, dtype=torch.uint8) if size else torch.empty(0).byte()

    def tensor(self, dtype: torch.dtype) -> Tensor:
        """All values as one flat tensor of ``dtype``; its pages are the file's and shared by all who map it."""
        return self.bytes.view(dtype)


class Cache:
    """Entries under ``folder``, of ``max_gb`` at most in all: those that were not used for longest make room.

    Args:
        folder: is made when the first entry is; None: the user's cache folder.
        max_gb: bound in gigabytes (10**9 bytes).
        progress: show bars while something is built.

    Its ``clock`` counts the time of building under the phase that it is for, and knows the cost of each entry that is used.
    """

    def __init__(self, folder: str | Path | None = None, max_gb: float = 20.0, progress: bool = False) -> None:
        self.folder, self.max_bytes, self.progress = Path(folder or default_folder()), max_gb * 1e9, progress
        self.clock = PhaseTimer()
        # What this process uses: entries with their bytes, and hashes of files by the files' states.
        self.used: dict[Path, int] = {}
        self.hashes: dict[tuple[int, ...], bytes] = {}

    def fits(self, size: float) -> bool:
        """Say whether an entry of ``size`` bytes may be kept, beside those that this process uses."""
        return sum(self.used.values()) + size <= self.max_bytes

    def path(self, kind: str, description: Mapping[str, Any]) -> Path:
        """The folder of the entry that ``description`` stands for."""
        text = json.dumps({"format": FORMAT, **description}, sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"

    def get(
        self, kind: str, what: str, description: Mapping[str, Any], phase: str, build: Callable[[Writer], None]
    ) -> Entry:
        """Return the entry, which ``build`` writes unless it is there, complete and undamaged.

        Of several processes that need it at once, one builds it and the others wait.

        Args:
            kind: the first part of its folder's name.
            what: what it is, in words for a reader.
            description: all that its content follows from, as plain Python.
            phase: to which the time counts, of building or of waiting for another process that builds.
            build: writes the rows.

        Raises:
            UserError: if the folder can't be written, or the disk is full.
        """
        folder = self.path(kind, description)
        with self.clock.timed(entry=folder.name):
            entry = self._open(folder, report=False)
        try:
            if entry is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                waits = f"Waiting for another process that writes {folder}."
                with self.clock.timed(phase, folder.name), lock_or_wait(self.folder / f".{folder.name}.lock", waits):
                    entry = self._open(folder) or self._build(folder, what, dict(description), build)
        except OSError as error:
            raise UserError(
                f"The cache in {self.folder} can't be written ({error}): free some space there, use another folder with "
                "cache.dir=DIR, or turn the cache off with cache.enabled=false."
            ) from error
        self.used[folder] = entry.bytes.nbytes
        self.clock.use(entry.costs)
        self._make_room()
        return entry

    def _build(self, folder: Path, what: str, description: dict[str, Any], build: Callable[[Writer], None]) -> Entry:
        # A killed process left half an entry. Nobody else's folder has a hash in its name, and the entry's lock is held.
        beside = self.folder / f"{BUILDING}{folder.name}"
        for leftover in (beside, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        beside.mkdir()
        begun = self.clock.spent_on(folder.name)
        try:
            with open(beside / "data.bin", "wb") as file, Writer(file) as writer:
                build(writer)
            meta = {"what": what, "made_from": description, "bytes": writer.bytes, "shapes": writer.shapes}
            meta["seconds"] = {folder.name: round(self.clock.spent_on(folder.name) - begun, 3), **writer.needed}
            text = json.dumps(meta | {"checksum": entry_checksum(meta, writer.checksum)})
            (beside / "meta.json").write_text(text, encoding="utf-8")
            entry, state = Entry(beside / "data.bin", meta), file_version(beside / "data.bin")
            os.rename(beside, folder)
            # The next run of this process need not read it again to verify it.
            _sums[str(folder / "data.bin"), *state[1:]] = writer.checksum
            return entry
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _open(self, folder: Path, report: bool = True) -> Entry | None:
        """The entry in ``folder``; None where there is none, or a damaged one, of which the user learns with ``report``."""
        file = folder / "data.bin"
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            if (state := file_version(file)) not in _sums:
                _sums[state] = checksum(file)
            if state[1] != meta["bytes"] or entry_checksum(meta, _sums[state]) != meta["checksum"]:
                raise ValueError("its checksum is wrong")
            entry = Entry(file, meta)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            # A file that does not exist was removed just now.
            if report and file.exists():
                log_note(f"The cache entry {folder} is damaged ({error}) and is computed again.")
            return None
        # The time of the last use. Somebody else's cache may be read-only.
        with suppress(OSError):
            os.utime(folder / "meta.json")
        return entry

    def _make_room(self) -> None:
        """Remove what was not used for longest until the rest fits; never what this process uses."""
        listed = sorted(entries(self.folder), key=lambda entry: entry["used"])
        surplus = sum(entry["bytes"] for entry in listed) - self.max_bytes
        for entry in listed:
            if surplus > 0 and entry["folder"] not in self.used:
                shutil.rmtree(entry["folder"], ignore_errors=True)
                surplus -= entry["bytes"]


def file_version(file: Path) -> tuple[str, int, int]:
    """What tells one file from another without reading it: path, bytes, and time of the last change in nanoseconds."""
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns


def entry_checksum(meta: Mapping[str, Any], data: int) -> int:
    """CRC-32 of an entry: of its data, whose CRC-32 is given, and of the rest of its ``meta``."""
    rest = {key: value for key, value in meta.items() if key != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode(), data)


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            total = zlib.crc32(chunk, total)
    return total


def entries(folder: Path, prefix: str = "") -> list[dict[str, Any]]:
    """All entries in a cache's folder: folder, what it is in words, bytes, and last use (seconds since 1970).

    With the prefix ``BUILDING`` those that are being built, or were when their process was killed.
    """
    listed = []
    for path in (path for path in folder.glob(f"{prefix}*-*") if prefix or ENTRY.fullmatch(path.name)):
        # Another process may remove the entry meanwhile.
        with suppress(OSError):
            files = {file.name: file.stat() for file in path.iterdir()}
            entry = {"folder": path, "what": "damaged", "used": files.get("meta.json", path.stat()).st_mtime}
            entry["bytes"] = files["data.bin"].st_size if "data.bin" in files else 0
            with suppress(OSError, ValueError, KeyError, TypeError):
                entry["what"] = json.loads((path / "meta.json").read_text(encoding="utf-8"))["what"]
            if files.keys() <= FILES:
                listed.append(entry)
    return listed


def clear(folder: Path, unused_days: float = 0.0) -> int:
    """Remove all entries that were not used for so many days, and what killed processes left; return the bytes.

    Nothing else in the folder is touched. Locks stay: another process may hold one.
    """
    before, removed = time.time() - unused_days * 86400, 0
    for entry in entries(folder):
        if entry["used"] <= before:
            shutil.rmtree(entry["folder"])
            removed += entry["bytes"]
    for leftover in entries(folder, BUILDING):
        name = leftover["folder"].name.removeprefix(BUILDING)
        # Who builds an entry holds its lock.
        with suppress(Timeout), FileLock(folder / f".{name}.lock").acquire(timeout=0):
            shutil.rmtree(leftover["folder"])
            removed += leftover["bytes"]
    return removed

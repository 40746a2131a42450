"""Files that are whole whenever somebody reads them and never replace a user's, new folders, CSV and strict JSON."""

import csv
import errno
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from flowers_tl.utils.errors import UserError, first_line
from flowers_tl.utils.interruption import before_end

HIDDEN = ".flowers_tl-"
# What the operating system says where there is no room, of the disk, of the user or for the file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def lacks_room(error: BaseException | None) -> bool:
    """Whether an error, or what has caused it, is that there is no room to write."""
    return error is not None and (getattr(error, "errno", None) in NO_ROOM or lacks_room(error.__cause__))


@contextmanager
def named_if_unwritable(place: str | Path, kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Raise UserError, which names the file or folder, where an error of the ``kinds`` says that it can't be written."""
    try:
        yield
    except kinds as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"{place} can't be written ({why}): free some space there, or use another place, and give the same command again."
        ) from error


def validate_ordinary(file: str | Path) -> None:
    """Raise OSError for a pipe or a device, which would be read for ever; one that does not exist is for whoever opens it."""
    if Path(file).exists() and not Path(file).is_file():
        raise OSError("it is no ordinary file")


@contextmanager
def atomic_write(file: str | Path) -> Iterator[Path]:
    """Give a path beside ``file`` to write to, and rename it to ``file`` at the end.

    Whoever reads ``file`` finds all of the old content or all of the new, also after a kill. After an error the old
    content stays, and nothing lies beside it.

    Raises:
        UserError: if it can't be written.
    """
    beside = Path(f"{file}.new")
    try:
        # PyTorch raises the latter.
        with (
            named_if_unwritable(file, (OSError, RuntimeError)),
            before_end(lambda number: beside.unlink(missing_ok=True)),
        ):
            # What a killed process left there may be a link to a file that stays.
            beside.unlink(missing_ok=True)
            yield beside
            os.replace(beside, file)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write files into, and move them into ``folder`` at the end: all of them or, after an error, none.

    Raises:
        UserError: if they can't be written.
    """
    made = not folder.exists()
    try:
        with named_if_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with hidden_folder(folder) as beside:
                yield beside
                for file in sorted(beside.glob("[!.]*")):
                    os.replace(file, folder / file.name)
    except BaseException:
        with suppress(OSError):
            if made:
                folder.rmdir()
        raise


@contextmanager
def hidden_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` for what is not whole yet, and remove it at the end, with those that a kill has left."""
    for old in parent.glob(f"{HIDDEN}*"):
        # One that is locked is another process's.
        with suppress(OSError), FileLock(old / ".lock").acquire(timeout=0):
            shutil.rmtree(old)
    with (
        TemporaryDirectory(prefix=HIDDEN, dir=parent) as name,
        FileLock(Path(name) / ".lock"),
        before_end(lambda number: shutil.rmtree(name, ignore_errors=True)),
    ):
        yield Path(name)


def names_below(files: Iterable[Path], folder: Path) -> list[str]:
    """The files' paths from a folder that they are below, with slashes; for thousands of files, as pathlib takes its time."""
    above = f"{folder.as_posix()}/"
    return [
        name.removeprefix(above) if (name := file.as_posix()).startswith(above) else file.relative_to(folder).as_posix()
        for file in files
    ]


def runs_folder() -> str:
    """Where commands write that are given no folder."""
    return os.environ.get("FLOWERS_TL_RUNS") or "outputs"


def new_folder(kind: str) -> Path:
    """Make a folder ``outputs/KIND_TIME`` that nobody else has, even if several begin in the same second.

    FLOWERS_TL_RUNS names another place than ``outputs``.
    """
    name = f"{runs_folder()}/{kind}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    folder, number = Path(name), 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = Path(f"{name}_{number}")


def validate_folder(folder: str | Path | None, key: str) -> None:
    """Raise UserError if the folder that an option names can't be made: a file lies there, or above it."""
    if folder is not None:
        there = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
        if not there.is_dir():
            raise UserError(f"{key}={folder} can't be a folder, since {there} is a file: use another.")


def validate_overwrite(folder: Path, names: Sequence[str], sign: str, key: str) -> None:
    """Raise UserError if a file of these ``names`` lies in the folder and a user may have put it there.

    Args:
        folder: where the files are to go; it need not be there.
        names: of files that are always written together, the first of them a text.
        sign: words in the first file by which it is known to be an earlier one of ours, and the others with it.
        key: of the option that names the folder.
    """
    validate_folder(folder, key)
    there = [folder / name for name in names if (folder / name).exists()]
    if there and not (there[0].name == names[0] and sign in there[0].read_text(encoding="utf-8", errors="replace")):
        raise UserError(
            f"{there[0]} is there already, and this command did not write it: use another folder with {key}=DIR."
        )


def validate_new_folder(out: str | Path | None) -> None:
    """Raise UserError if the folder of the option ``out`` can't be made, or holds anything; None is a new one."""
    validate_folder(out, "out")
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise UserError(f"out={out} is there already, and not empty: use a new folder, so that nothing in it is lost.")


def format_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV under a header of all their keys; a cell stays empty where a row has no value.

    Text goes through :func:`csv_text`.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, dict.fromkeys(key for row in rows for key in row))
    writer.writeheader()
    writer.writerows(
        {key: csv_text(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    )
    return text.getvalue()


def csv_text(name: str, mark: str = "'") -> str:
    """A name in a CSV file: one that a spreadsheet would take for a formula gets a ``mark`` before it."""
    return f"{mark}{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def dumps(value: Any, **options: Any) -> str:
    """Return ``value`` as JSON in which a float that is not finite is null; ``options`` are those of ``json.dumps``."""
    plain = json.loads(json.dumps(value), parse_constant=lambda name: None)
    return json.dumps(plain, allow_nan=False, **options)


def find_conf(package: Path) -> Path:
    """The folder ``conf`` of the package in this folder: a wheel has it inside, a checkout beside the package.

    Beside an installed package a folder of that name is somebody else's.
    """
    inside, project = package / "conf", package.parent / "pyproject.toml"
    if inside.is_dir():
        return inside
    if project.is_file() and 'name = "flowers_tl"' in project.read_text(encoding="utf-8"):
        return package.parent / "conf"
    raise UserError(f"{package} lacks its folder conf: install flowers_tl again.")

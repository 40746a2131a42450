"""No command overwrites a file that it has not written."""

from collections.abc import Sequence
from pathlib import Path

from flowers_tl.utils.errors import UserError


def validate_overwrite(folder: Path, names: Sequence[str], sign: str, key: str) -> None:
    """Raise UserError if a file of these ``names`` lies in the folder and a user may have put it there.

    Args:
        folder: where the files are to go; it need not be there.
        names: of files that are always written together, the first of them a text.
        sign: words in the first file by which it is known to be an earlier one of ours, and the others with it.
        key: of the option that names the folder.
    """
    there = [folder / name for name in names if (folder / name).exists()]
    if there and not (there[0].name == names[0] and sign in there[0].read_text(encoding="utf-8", errors="replace")):
        raise UserError(
            f"{there[0]} is there already, and this command did not write it: name another folder, {key}=DIR."
        )


def validate_new_folder(out: str | Path | None) -> None:
    """Raise UserError if the folder of the option ``out`` holds anything; None is a new one."""
    if out is not None and Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
        raise UserError(f"out={out} is there already, and not empty: name a new folder, so that nothing in it is lost.")

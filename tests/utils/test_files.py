"""A file is whole whenever it is read, and a new folder is nobody else's."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowers_tl.config.schema import CONF
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import (
    NO_ROOM,
    atomic_folder,
    atomic_write,
    csv_text,
    dumps,
    hidden_folder,
    lacks_room,
    new_folder,
    validate_ordinary,
)  # fmt: skip


def test_the_old_content_stays_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "result.json"
    for content in ("one", "two"):
        before = file.read_text() if file.exists() else None
        with atomic_write(file) as beside:
            beside.write_text(content)
            assert (file.read_text() if file.exists() else None) == before
            assert beside.parent == file.parent  # another disk would make the rename a copy
        assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(28, "No space left on device"),
            r"last\.ckpt can't be written \(No space left on device\): free some space there",
        ),
        (RuntimeError("unexpected pos 640"), r"last\.ckpt can't be written \(unexpected pos 640\)"),
        (KeyboardInterrupt(), None),
    ],
)
def test_after_an_error_the_old_content_stays_and_nothing_else(tmp_path, error, told):
    file = tmp_path / "last.ckpt"
    file.write_text("old")

    def write():
        with atomic_write(file) as beside:
            beside.write_text("ha")
            raise error

    with pytest.raises(UserError if told else type(error), match=told):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_new_folders_of_one_second_differ(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    assert [str(new_folder("evaluation")) for _ in range(3)] == [
        "outputs/evaluation_now",
        "outputs/evaluation_now_2",
        "outputs/evaluation_now_3",
    ]


def test_json_has_no_number_that_is_none():
    said = {"loss": math.nan, "deep": [{"a": (math.inf, -math.inf, 0.5)}], "n": 3, "words": "NaN"}
    expected = {"loss": None, "deep": [{"a": [None, None, 0.5]}], "n": 3, "words": "NaN"}
    assert json.loads(dumps(said, indent=2)) == expected


def test_json_is_written_in_one_place():
    """What is hashed and never read as JSON stays as it was, with the numbers that stand in old keys.

    svg.py writes strings, groups.py hands strings to another process.
    """
    hashed = {
        "run_id.py",
        "disk_cache.py",
        "protocol.py",
        "load_runs.py",
        "groups.py",
        "search.py",
        "advise.py",
        "files.py",
        "svg.py",
    }
    package = CONF.parent / "flowers_tl"
    assert {file.name for file in package.rglob("*.py") if "json.dump" in file.read_text()} == hashed


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@a", "\t=1"])
def test_no_name_is_a_formula_in_a_csv(name):
    assert csv_text(name) == f"'{name}"
    assert csv_text("rose = 1") == "rose = 1"


def test_a_hidden_folder_is_removed_with_those_of_killed_processes_but_not_of_others(tmp_path):
    code = "import sys, pathlib; from flowers_tl.utils.files import hidden_folder\n"
    code += (
        "with hidden_folder(pathlib.Path(sys.argv[1])) as folder:\n    print(folder, flush=True)\n    sys.stdin.read()"
    )
    words, pipes = [sys.executable, "-c", code, str(tmp_path)], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    killed, other = (subprocess.Popen(words, text=True, **pipes) for _ in range(2))
    folders = [Path(process.stdout.readline().strip()) for process in (killed, other)]
    assert all(folder.is_dir() for folder in folders)
    killed.kill()
    killed.wait()
    with hidden_folder(tmp_path) as mine:
        assert set(tmp_path.iterdir()) == {folders[1], mine}
    other.communicate()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_files_that_belong_together_are_all_written_or_none(tmp_path, there):
    folder = tmp_path / "report"
    if there:
        folder.mkdir()
        (folder / "a.csv").write_text("old")

    def write(*errors):
        with atomic_folder(folder) as beside:
            (beside / "a.csv").write_text("new")
            for error in errors:
                raise error
            (beside / "b.csv").write_text("new")

    with pytest.raises(UserError, match=rf"{folder} can't be written \(No space left on device\)"):
        write(OSError(28, "No space left on device"))
    assert [file.name for file in tmp_path.rglob("*")] == (["report", "a.csv"] if there else [])
    write()
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"a.csv": "new", "b.csv": "new"}


def test_an_error_that_another_one_of_no_room_has_caused_is_known():
    for number in NO_ROOM:
        error = UserError("a sentence")
        error.__cause__ = OSError(number, "no room")
        assert lacks_room(error)
    assert not lacks_room(OSError(2, "No such file"))
    assert not lacks_room(None)


def test_a_pipe_or_a_device_is_no_ordinary_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "a.csv").touch()
    for wrong in (tmp_path / "pipe.csv", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="no ordinary file"):
            validate_ordinary(wrong)
    validate_ordinary(tmp_path / "a.csv")
    validate_ordinary(tmp_path / "missing.csv")

"""What is kept is whole, is what it is called, is made once, and makes room; the command lists and clears it."""

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data.cached import disk_cache as room
from flowers_tl.data.cached.disk_cache import Cache, clear, entries
from flowers_tl.utils.errors import UserError
from tests.data.cached.kept_things import VALUES, keep


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Each test is a process that has checked nothing yet."""
    monkeypatch.setattr(room, "_sums", {})


def test_what_was_made_is_found_and_made_once(tmp_path):
    made = []
    for _ in range(2):
        assert torch.equal(keep(Cache(tmp_path), made=made), VALUES)
    assert len(made) == 1


def test_another_description_is_another_entry(tmp_path):
    cache = Cache(tmp_path)
    assert torch.equal(keep(cache, weights="old"), VALUES)
    assert torch.equal(keep(cache, VALUES + 1, weights="new"), VALUES + 1)
    assert torch.equal(keep(cache, weights="old"), VALUES)
    assert len(entries(tmp_path)) == 2


def keep_two(cache, wait):
    """Keep features that are built from images: 2 s of waiting for a lock, 4 s for images, 8 s for features."""

    def build_images(writer):
        wait(4)
        writer.write(VALUES)

    def build_features(writer):
        writer.needed |= cache.get("images", "images", {"b": 1}, "decode", build_images).costs
        wait(8)
        writer.write(VALUES)

    return cache.get("features", "features", {"a": 1}, "prefix", build_features)


def test_an_entry_knows_what_it_and_those_that_it_needs_took(tmp_path, wait, monkeypatch):
    @contextmanager
    def waiting(*arguments):
        wait(2)
        yield

    monkeypatch.setattr(room, "lock_or_wait", waiting)
    first = Cache(tmp_path)
    costs = keep_two(first, wait).costs
    assert sorted((name.split("-")[0], cost) for name, cost in costs.items()) == [("features", 8), ("images", 4)]
    took = first.clock.summary()
    assert (took["prefix"], took["decode"], took["total"], took["cold"]) == (10, 6, 16, 12)
    second = Cache(tmp_path)
    assert keep_two(second, wait).costs == costs
    assert second.clock.kept == {"here": 0, **costs}  # which does not open the images
    assert second.clock.summary()["cold"] == 12


def test_an_entry_of_an_earlier_version_stays_and_its_cost_is_unknown(tmp_path, wait):
    keep_two(Cache(tmp_path), wait)
    (folder,) = tmp_path.glob("images-*")
    meta = json.loads((folder / "meta.json").read_text())
    earlier = {key: value for key, value in meta.items() if key not in ("seconds", "checksum")}
    checksum = room.entry_checksum(earlier, room.checksum(folder / "data.bin"))
    (folder / "meta.json").write_text(json.dumps(earlier | {"checksum": checksum}))
    clear_features = next(tmp_path.glob("features-*"))
    shutil.rmtree(clear_features)
    for _ in range(2):  # built from it, and then found
        cache = Cache(tmp_path)
        assert keep_two(cache, wait).costs == {folder.name: None, clear_features.name: 8}
        assert "cold" not in cache.clock.summary()


def test_a_changed_cost_is_a_damage(tmp_path, wait, capsys):
    keep_two(Cache(tmp_path), wait)
    (folder,) = tmp_path.glob("images-*")
    file = folder / "meta.json"
    file.write_text(file.read_text().replace("4.0}", "0.4}"))
    shutil.rmtree(next(tmp_path.glob("features-*")))
    assert keep_two(Cache(tmp_path), wait).costs[folder.name] == 4
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["a byte", "the end", "meta.json", "half of meta.json", "a shape", "no shapes"])
def test_a_damaged_entry_is_made_anew(tmp_path, capsys, monkeypatch, fault):
    keep(Cache(tmp_path))
    (folder,) = tmp_path.glob("things-*")
    data = bytearray((folder / "data.bin").read_bytes())
    if fault == "a byte":
        data[17] ^= 1
        (folder / "data.bin").write_bytes(data)
    elif fault == "the end":
        (folder / "data.bin").write_bytes(data[:-4])
    elif fault == "meta.json":
        (folder / "meta.json").unlink()
    elif fault == "half of meta.json":
        (folder / "meta.json").write_text((folder / "meta.json").read_text()[:30])
    else:
        meta = json.loads((folder / "meta.json").read_text())
        meta["shapes"] = [[11], *meta["shapes"][1:]] if fault == "a shape" else []
        (folder / "meta.json").write_text(json.dumps(meta))
    monkeypatch.setattr(room, "_sums", {})
    made = []
    assert torch.equal(keep(Cache(tmp_path), made=made), VALUES)
    assert len(made) == 1
    assert capsys.readouterr().err.count("is damaged") == (fault != "meta.json")


def test_what_this_process_has_written_is_not_read_again_to_verify_it(tmp_path, monkeypatch):
    keep(Cache(tmp_path))
    monkeypatch.setattr(room, "checksum", lambda file: pytest.fail("It was read again."))
    assert torch.equal(keep(Cache(tmp_path)), VALUES)


def test_half_an_entry_is_never_found(tmp_path):
    class Stop(BaseException):
        pass

    def build(writer):
        writer.write(VALUES[0])
        raise Stop

    with pytest.raises(Stop):
        Cache(tmp_path).get("things", "some things", {"a": 1}, "decode", build)
    assert entries(tmp_path) == []
    assert torch.equal(keep(Cache(tmp_path)), VALUES)


def slowly(folder: Path, made: Path) -> None:
    def build(writer):
        with open(made, "a") as file:
            file.write("made\n")
        for row in VALUES:
            writer.write(row)
            time.sleep(0.1)

    entry = Cache(folder).get("things", "some things", {"a": 1}, "decode", build)
    assert torch.equal(entry.tensor(torch.float32).view(-1, 12), VALUES)


def test_two_processes_at_once_make_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=slowly, args=(tmp_path / "cache", tmp_path / "made")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "made").read_text() == "made\n"


FULL = """
import resource, signal, sys, torch
from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.utils.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as a disk that takes no more
try:
    Cache(sys.argv[1]).get("things", "things", {}, "decode", lambda writer: writer.write(torch.zeros(100_000)))
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_told(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, timeout=60)
    assert "can't be written" in done.stdout, done.stderr
    assert "free some space there, use another folder with cache.dir=DIR" in done.stdout
    assert not list(tmp_path.glob("*/data.bin"))


def test_what_was_not_used_for_longest_makes_room(tmp_path, monkeypatch):
    size = VALUES.nbytes
    for k in range(3):
        keep(Cache(tmp_path, max_gb=3.5 * size / 1e9), number=k)
        time.sleep(0.02)
    keep(Cache(tmp_path, max_gb=3.5 * size / 1e9), number=0)  # used again
    time.sleep(0.02)
    keep(Cache(tmp_path, max_gb=3.5 * size / 1e9), number=3)
    kept = {json.loads((e["folder"] / "meta.json").read_text())["made_from"]["number"] for e in entries(tmp_path)}
    assert kept == {0, 2, 3}


def test_what_the_process_uses_stays(tmp_path):
    cache = Cache(tmp_path, max_gb=1.5 * VALUES.nbytes / 1e9)
    first, second = keep(cache, number=0), keep(cache, VALUES + 1, number=1)
    assert torch.equal(first, VALUES)
    assert torch.equal(second, VALUES + 1)
    assert len(entries(tmp_path)) == 2


def test_what_another_process_removes_stays_with_those_who_use_it(tmp_path, monkeypatch):
    rename = room.os.rename

    def removed_at_once(old, new):
        rename(old, new)
        shutil.rmtree(new)

    monkeypatch.setattr(room.os, "rename", removed_at_once)
    assert torch.equal(keep(Cache(tmp_path)), VALUES)
    monkeypatch.setattr(room.os, "rename", rename)
    keep(Cache(tmp_path))
    entry = Cache(tmp_path).get("things", "some things", {"a": 1}, "decode", pytest.fail)
    clear(tmp_path)
    assert torch.equal(entry.tensor(torch.float32).view(-1, 12), VALUES)


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"cache.max_gb=0 must be above 0; cache.enabled=false turns the cache off"):
        validate_ranges({"cache": {"max_gb": 0}})


def test_only_entries_are_listed_and_those_without_a_part_too(tmp_path):
    keep(Cache(tmp_path))
    (folder,) = tmp_path.glob("things-*")
    (folder / "meta.json").unlink()
    (tmp_path / "my-project").mkdir()
    (tmp_path / "my-project" / "data.bin").write_bytes(b"a user's own file")
    assert [(entry["folder"], entry["what"]) for entry in entries(tmp_path)] == [(folder, "damaged")]
    clear(tmp_path)
    assert (tmp_path / "my-project" / "data.bin").is_file()
    assert not folder.exists()


@pytest.mark.parametrize(
    "name", ["photos-0123456789abcdef0123", ".building-photos-0123456789abcdef0123", ".building-my-house"]
)
def test_a_folder_of_the_users_own_is_never_removed_whatever_it_is_called(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "data.bin").write_bytes(b"x" * 1000)
    (tmp_path / name / "notes.txt").write_text("mine")
    keep(Cache(tmp_path, max_gb=1e-9))  # makes room
    clear(tmp_path)
    assert {file.name for file in (tmp_path / name).iterdir()} == {"data.bin", "notes.txt"}


def test_clearing_leaves_what_another_process_makes(tmp_path):
    from filelock import FileLock

    building = tmp_path / ".building-things-0"
    building.mkdir()
    with FileLock(tmp_path / ".things-0.lock"):
        code = f"from flowers_tl.data.cached.disk_cache import clear; from pathlib import Path; clear(Path({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        assert building.is_dir()
    clear(tmp_path)
    assert not building.exists()


def test_the_folder_is_the_users_choice_then_an_earlier_one_then_the_systems(tmp_path, monkeypatch):
    monkeypatch.setattr(room.platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / "system" / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "earlier"))
    assert room.default_folder() == tmp_path / "system" / "flowers_tl"
    (tmp_path / "earlier" / "flowers_tl").mkdir(parents=True)
    assert room.default_folder() == tmp_path / "earlier" / "flowers_tl"
    monkeypatch.setenv("FLOWERS_TL_CACHE", str(tmp_path / "chosen"))
    assert room.default_folder() == tmp_path / "chosen"

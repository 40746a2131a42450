"""Images that can't be read are told and left out, and decoded once to find that out."""

import os
import shutil
from pathlib import Path

import pytest

from flowers_tl.data.cached import unreadable as readable
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.image_io import read_image
from flowers_tl.data.splits import SPLITS
from flowers_tl.utils.errors import UserError
from tests.data.opened_folders import COUNTS, open_folder


@pytest.fixture
def damaged(photos):
    """Photos of which three can't be read: an empty one, half a one, and a link to nothing."""
    root = photos(COUNTS)
    (root / "rose" / "1.jpg").write_bytes(b"")
    half = (root / "aster" / "2.jpg").read_bytes()
    (root / "aster" / "2.jpg").write_bytes(half[: len(half) // 2])
    (root / "rose" / "gone.jpg").symlink_to("nothing")
    return root


@pytest.fixture
def reads(monkeypatch):
    """The images that are decoded in :mod:`readable` and into the store, as they are."""
    counted = []

    def counting(file, **options):
        counted.append(Path(file).name)
        return read_image(file, **options)

    monkeypatch.setattr("flowers_tl.data.cached.decode_files.read_image", counting)
    monkeypatch.setattr(readable, "read_image", counting)
    readable.decode_all.cache_clear()
    return counted


CACHES = {"kept": {"max_gb": 1}, "too large to be kept": {"max_gb": 2e-5}, "off": None}


@pytest.mark.parametrize("kept", CACHES)
def test_unreadable_images_are_told_and_left_out_of_their_split(damaged, tmp_path, capsys, reads, kept):
    def cache():
        return Cache(tmp_path / "cache", **CACHES[kept]) if CACHES[kept] else None

    data = open_folder(damaged, cache=cache())
    assert [file.relative_to(damaged).as_posix() for file in data.left_out] == [
        "aster/2.jpg",
        "rose/1.jpg",
        "rose/gone.jpg",
    ]
    assert sum(data.sizes.values()) == 22
    assert not {file for split in data.images.values() for file in split.files} & set(data.left_out)
    lines = capsys.readouterr().err.splitlines()
    told = next(k for k, line in enumerate(lines) if line == "Note: 3 of 25 images left out:")
    for line, file in zip(lines[told + 1 :], data.left_out, strict=False):
        assert line.startswith(f"  {file} can't be read as an image (")
    # All others are where they would be without the damaged ones being looked at: names alone decide.
    splits = data.find_splits()
    assert len(splits["train"]) == 25
    # A second run, in this process or another, decodes nothing but what it tells of.
    del reads[:]
    assert open_folder(damaged, cache=cache()).images == data.images
    assert sorted(reads) == ["1.jpg", "2.jpg", "gone.jpg"]


@pytest.mark.parametrize("kept", CACHES)
def test_strict_refuses_them(damaged, tmp_path, kept):
    for strict in (True, False, True):  # whoever comes first
        cache = Cache(tmp_path / "cache", **CACHES[kept]) if CACHES[kept] else None
        if not strict:
            open_folder(damaged, cache=cache)
            continue
        with pytest.raises(UserError) as caught:
            open_folder(damaged, strict=True, cache=cache)
        sentence = (
            f"{damaged / 'aster' / '2.jpg'} is missing, or can't be read (and 2 more): restore it, or leave it out"
        )
        assert str(caught.value) == f"{sentence} with data.strict=false."


def test_strict_lets_whole_images_pass(photos):
    root = photos(COUNTS)
    assert open_folder(root, strict=True).images == open_folder(root).images


def test_a_image_that_was_mended_is_there_again(damaged, tmp_path):
    open_folder(damaged, cache=Cache(tmp_path / "cache"))
    shutil.copy(damaged / "rose" / "3.jpg", damaged / "rose" / "1.jpg")
    data = open_folder(damaged, cache=Cache(tmp_path / "cache"))
    assert [file.name for file in data.left_out] == ["2.jpg", "gone.jpg"]
    batches = [batch for split in SPLITS for batch in data.in_order(split)]
    assert sum(len(labels) for _, labels in batches) == 23


def test_a_class_of_which_a_split_can_read_nothing_is_named(photos):
    root = photos({"rose": 6, "aster": 6})
    lost = next(file for file in open_folder(root).images["val"].files if file.parent.name == "rose")
    lost.write_bytes(b"")
    with pytest.raises(UserError, match=r"No image of class 'rose' in val can be read: replace them"):
        open_folder(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_image_that_may_not_be_read_is_left_out(photos):
    root = photos(COUNTS)
    (root / "rose" / "3.jpg").chmod(0)
    assert [file.name for file in open_folder(root).left_out] == ["3.jpg"]


def test_many_unreadable_images_are_counted(photos, capsys):
    root = photos({"rose": 40, "aster": 6})
    for k in range(20):
        (root / "rose" / f"{k}.jpg").write_bytes(b"")
    data = open_folder(root)
    assert len(data.left_out) == 20
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  ... and 10 more"


def test_what_this_process_has_found_before_does_not_make_an_entry_cheap(photos, tmp_path, wait, monkeypatch):
    def taking_time(function, items):
        wait(3)
        return list(map(function, items))

    monkeypatch.setattr(readable, "map_in_threads", taking_time)
    files, cache = sorted(photos({"a": 2}).rglob("*.jpg")), Cache(tmp_path / "cache")
    readable.find_undecodable(files)
    readable.find_undecodable(files, cache)
    assert [cost for name, cost in cache.clock.costs.items() if name.startswith("readable")] == [3]

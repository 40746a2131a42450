"""On many cores processes decode images, and give what threads give: to the bit, in order, with the same errors."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from flowers_tl.data.cached import decode_files, decoded_images
from flowers_tl.data.cached.decode_files import UNREADABLE, decode_all, processes_are_faster
from flowers_tl.data.cached.decoded_images import open_images
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.image_io import read_image
from flowers_tl.data.transforms import ARTICLE
from flowers_tl.utils.errors import UserError


@pytest.fixture
def files(tmp_path):
    """Forty images of unlike shapes, more than one process takes at once."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{k:02}.png" for k in range(40)]
    for k, path in enumerate(paths):
        Image.fromarray(random.integers(0, 256, (20 + k, 60 - k, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def in_processes(monkeypatch):
    if decode_files.sys.platform != "linux":
        pytest.skip("only Linux forks processes")
    monkeypatch.setattr(decoded_images, "processes_are_faster", lambda *_: True)
    monkeypatch.setattr(decode_files, "count_cores", lambda: 3)


def test_processes_give_what_threads_give(files, in_processes, monkeypatch):
    threads = [decode_files.decode(file, 24) for file in files]
    made = []
    loader = decode_files.DataLoader
    monkeypatch.setattr(
        decode_files, "DataLoader", lambda *args, **kw: made.append(kw["num_workers"]) or loader(*args, **kw)
    )
    processes = list(decode_all(files, 24, None, False, ARTICLE, True))
    assert made == [3]
    assert len(processes) == 40
    assert all(map(torch.equal, processes, threads))


def test_no_random_number_of_the_runs_is_drawn(files, in_processes):
    before = torch.get_rng_state()
    list(decode_all(files, 24, None, False, ARTICLE, True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_image_ends_it_with_one_sentence(files, in_processes):
    files[17].write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        list(decode_all(files, 24, None, False, ARTICLE, True))
    assert str(files[17]) in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_or_is_left_without_pixels(files, in_processes):
    files[17].write_bytes(b"no image")
    files[39].write_bytes(b"")
    images = list(decode_all(files, 24, None, True, ARTICLE, True))
    assert [k for k, image in enumerate(images) if image.shape == UNREADABLE.shape] == [17, 39]
    assert images[18].shape == decode_files.decode(files[18], 24).shape


def test_threads_decode_where_the_system_ends_a_process(files, in_processes, tmp_path, monkeypatch, caplog):
    def killed(file, **options):
        if get_worker_info() is not None and file == files[20]:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(file, **options)

    monkeypatch.setattr(decode_files, "read_image", killed)
    images = open_images(Cache(tmp_path / "cache"), files, 24, "images")
    assert all(torch.equal(images[k], decode_files.decode(file, 24)) for k, file in enumerate(files))
    assert "threads decode them now" in caplog.text


def test_large_images_are_decoded_one_at_a_time(files, in_processes, monkeypatch):
    # In each process the lock is the one that they share: a large image waits as long as another process holds it.
    monkeypatch.setattr(decode_files.image_bounds, "LARGE", 0)
    lock = decode_files.get_context("fork").Lock()
    monkeypatch.setattr(
        decode_files, "get_context", lambda kind: type("Context", (), {"Lock": staticmethod(lambda: lock)})
    )
    lock.acquire()
    waiting = decode_files.DataLoader(
        decode_files.FileReader(decode_files.partial(decode_files.decode, short_side=24), files),
        num_workers=1,
        collate_fn=decode_files.join_images,
        worker_init_fn=decode_files.start_worker,
        multiprocessing_context="fork",
        timeout=2,
    )
    with pytest.raises(RuntimeError, match="timed out"):
        next(iter(waiting))
    lock.release()
    assert len(list(decode_all(files, 24, None, False, ARTICLE, True))) == 40


@pytest.mark.parametrize(
    ("cores", "free", "images", "side", "faster"),
    [
        (16, 2**31, 5000, 256, True),
        (4, 2**31, 5000, 256, False),
        (16, 2**26, 5000, 256, False),
        (16, 2**31, 500, 256, False),
        (16, 2**31, 5000, None, False),
    ],
)
def test_processes_need_many_cores_shared_memory_and_many_small_images(monkeypatch, cores, free, images, side, faster):
    monkeypatch.setattr(decode_files, "count_cores", lambda: cores)
    monkeypatch.setattr(decode_files.sys, "platform", "linux")
    monkeypatch.setattr(decode_files.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free}))
    assert processes_are_faster([Path("a.jpg")] * images, side) == faster

"""Rows of any shapes come back from the cache's file bit for bit, and a damaged file is never read."""

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowers_tl.data.cached import disk_cache
from flowers_tl.data.cached.decoded_images import DecodedImages, split_rows
from flowers_tl.data.cached.disk_cache import Cache

SHAPES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.just(3)), max_size=12)


def make(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes]


def keep(folder, rows):
    def build(writer):
        for row in rows:
            writer.write(row)

    return Cache(folder).get("rows", "rows", {"of": "test"}, "decode", build)


def refuse(writer):
    raise AssertionError("It was there already.")


@settings(max_examples=40)
@given(SHAPES)
def test_rows_come_back_as_they_were(shapes):
    rows = make(shapes)
    with tempfile.TemporaryDirectory() as folder:
        keep(folder, rows)
        entry = Cache(folder).get("rows", "rows", {"of": "test"}, "decode", refuse)
        read = split_rows(entry.tensor(torch.uint8), entry.shapes)
        assert len(read) == len(rows)
        assert all(torch.equal(one, other) for one, other in zip(rows, read, strict=True))


@settings(max_examples=60)
@given(SHAPES.filter(lambda shapes: any(map(all, shapes))), st.data())
def test_a_changed_byte_is_found(shapes, data):
    rows = make(shapes)
    with tempfile.TemporaryDirectory() as folder:
        keep(folder, rows)
        name = data.draw(st.sampled_from(["data.bin", "meta.json"]))
        (file,) = Path(folder).glob(f"rows-*/{name}")
        content = bytearray(file.read_bytes())
        # How long meta.json is depends on the seconds that it names.
        place = data.draw(st.integers(0, 9999)) % len(content)
        content[place] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        # As another process would, which has not read the file before.
        disk_cache._sums.clear()
        entry = keep(folder, rows)
        read = split_rows(entry.tensor(torch.uint8), entry.shapes)
        assert all(torch.equal(one, other) for one, other in zip(rows, read, strict=True))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)), min_size=1, max_size=8), st.randoms())
def test_a_part_has_its_images_in_its_own_order(shapes, random):
    rows, files = make(shapes), [Path(f"{k}.jpg") for k in range(len(shapes))]
    order = [random.randrange(len(files)) for _ in range(random.randrange(1, 12))]
    part = DecodedImages(files, None, rows).part([files[k] for k in order])
    assert [part[k].data_ptr() for k in range(len(part))] == [rows[k].data_ptr() for k in order]

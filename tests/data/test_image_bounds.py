"""No file makes the reader take much memory or time: what exceeds is told, and what is ordinary is read as before."""

import re
from io import BytesIO
from threading import Thread

import numpy as np
import pytest
from odd_images import png, scans, tags
from PIL import Image

from flowers_tl.data import image_bounds, image_io
from flowers_tl.data.cached.decoded_images import decoded_size
from flowers_tl.data.image_io import Undecodable, read_image, read_image_size


@pytest.fixture
def image_file(tmp_path):
    """Write a file: a function of its content."""

    def write(content):
        (tmp_path / "image.jpg").write_bytes(content)
        return tmp_path / "image.jpg"

    return write


def exif(content):
    file = BytesIO()
    Image.new("RGB", (50, 50)).save(file, "PNG", exif=b"Exif\0\0" + content)
    return file.getvalue()


EXCEEDING = {
    "a line": (lambda: png(2000, 1), "of 2,000 by 1 pixels, it is longer than 100 times its short side"),
    "a column": (lambda: png(1, 2000), "of 1 by 2,000 pixels, it is longer"),
    "pixels": (lambda: png(13000, 13000, 16), "its 169,000,000 pixels are more than 134,217,728"),
    "more pixels": (lambda: png(20000, 20000, 1), "exceeds limit of 178956970 pixels"),
    "a tile": (lambda: tags(0, 0, tile=30000), "its 900,000,000 pixels are more than 134,217,728"),
    "tags": (lambda: tags(2000, 40000), "its tags name more bytes than it holds"),
    "a camera's notes": (lambda: exif(tags(2000, 40000)), "its tags name more bytes than it holds"),
    "passes": (lambda: scans(1500, 3000), "its 3,0.. scans are too many"),
}


@pytest.mark.parametrize("kind", EXCEEDING)
def test_what_exceeds_is_told_before_it_is_decoded(image_file, kind, monkeypatch):
    content, reason = EXCEEDING[kind]
    file = image_file(content())
    monkeypatch.setattr(Image.Image, "transpose", None)
    monkeypatch.setattr(image_io, "strips", None)
    with pytest.raises(Undecodable, match=re.escape(str(file)) + ".*" + reason):
        read_image(file)


def test_webp_may_have_fewer_pixels(image_file, monkeypatch):
    monkeypatch.setattr(image_bounds, "MOST_PIXELS_WEBP", 100)
    file = image_file(b"")
    Image.new("RGB", (20, 20)).save(file, "WEBP")
    with pytest.raises(Undecodable, match="its 400 pixels are more than 100"):
        read_image(file)


@pytest.mark.parametrize("content", [png(100, 1), png(1, 100), tags(20, 40000), exif(tags(20, 4000)), scans(300, 30)])
def test_what_is_within_the_bounds_is_read(image_file, content):
    assert min(read_image(image_file(content)).size) >= 1


MODES = {
    "L": {}, "LA": {}, "RGB": {"transparency": (7, 8, 9)}, "RGBA": {}, "I;16": {}, "1": {}, "P": {"transparency": 3},
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turned", [False, True])
def test_strips_change_no_bit(image_file, mode, turned, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (61, 43, 4), dtype=np.uint8)
    image = Image.fromarray(noise.view(np.uint16)[..., 0] if mode == "I;16" else noise)
    file, notes = image_file(b""), Image.Exif()
    notes[274] = 6 if turned else 1
    (image if mode in ("I;16", "RGBA") else image.convert("RGB").convert(mode)).save(
        file, "PNG", exif=notes, **MODES[mode]
    )
    whole = read_image(file)
    monkeypatch.setattr(image_bounds, "STRIP", 200)
    assert np.array_equal(read_image(file), whole)
    assert whole.size == ((61, 43) if turned else (43, 61))
    assert len({pixel for _, pixel in whole.getcolors(10_000)}) > 1


def test_the_range_of_floats_is_that_of_all_strips(image_file, monkeypatch):
    monkeypatch.setattr(image_bounds, "STRIP", 10)
    file, values = image_file(b""), np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    Image.fromarray(values).save(file, "TIFF")
    assert np.array_equal(np.asarray(read_image(file))[..., 0], (values * 65535).round() // 257)
    for odd in (np.nan, 2.0):
        Image.fromarray(np.where(values == values[5, 3], np.float32(odd), values)).save(file, "TIFF")
        with pytest.raises(Undecodable, match=r"needs data\.value_range"):
            read_image(file)


def test_large_images_are_read_one_after_another_and_small_ones_meanwhile(image_file, monkeypatch):
    monkeypatch.setattr(image_bounds, "LARGE", 100)
    small, large = image_file(png(10, 10)), image_file(png(10, 10)).with_name("large.png")
    large.write_bytes(png(11, 11))
    read = []
    thread = Thread(target=lambda: read.append(read_image(large).size))
    with image_bounds.alone:
        thread.start()
        assert read_image(small).size == (10, 10)
        assert not read
    thread.join(60)
    assert read == [(11, 11)]


def test_what_is_left_out_takes_no_room_in_the_cache(image_file):
    thin = image_file(png(1, 20000))
    assert read_image_size(thin) is None
    assert decoded_size([thin], 256) == 0

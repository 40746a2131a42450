"""Images of every kind are read as a viewer shows them, and found by whatever they are called."""

import base64
import io
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import PurePath

import numpy as np
import pytest
from odd_images import colour_tiff, tiff
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from flowers_tl.data import image_io as reading
from flowers_tl.data.cached.content_hash import find_traits
from flowers_tl.data.image_io import Undecodable, find_images, is_image_file, read_image, read_image_size
from flowers_tl.report.thumbnails import load_thumbnail
from flowers_tl.results.images import mistakes_image
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.utils.errors import UserError


@pytest.fixture
def scene() -> Image.Image:
    """A smooth image, wider than high, of which no corner looks like another: uint8 (24, 40, 3)."""
    y, x = np.mgrid[0:24, 0:40]
    return Image.fromarray(np.stack([x * 6, y * 10, 255 - x * 3 - y * 4], axis=2).astype(np.uint8))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures' values, which are of 8 bits."""
    assert (one.mode, one.size) == ("RGB", other.size)
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


# What a camera held so does to the scene, by the numbers that the EXIF standard gives it.
HELD = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", HELD)
def test_a_image_is_turned_as_its_camera_says(scene, tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = scene if HELD[orientation] is None else scene.transpose(HELD[orientation])
    stored.save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    assert difference(read_image(tmp_path / f"a.{ending}"), scene) < 3


def test_reports_show_it_so_too(scene, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.resize((400, 240)).transpose(HELD[6]).save(tmp_path / "a.jpg", exif=exif)
    address, *size = load_thumbnail(tmp_path, "a.jpg")
    shown = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert shown.size == (*size,) == (128, 77)
    assert difference(shown, scene.resize((128, 77))) < 6
    split = SplitPredictions(np.array([[0.0, 9.0]]), np.array([0]), ["a.jpg"])
    sheet = mistakes_image(split, ["rose", "aster"], tmp_path)
    assert difference(Image.fromarray(sheet[:130, 4:220]), scene.resize((216, 130))) < 6


def test_reading_needs_no_torch():
    code = "import sys, flowers_tl.data.image_io; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("ending", ["jpg", "webp"])
@pytest.mark.parametrize("exif", [b"\xff" * 20, b"II*\0\x08\0\0\0\xff\xff", b"", b"II*\0\x08\0\0", b"words"])
def test_damaged_notes_of_the_camera_do_not_matter(scene, tmp_path, exif, ending):
    scene.save(tmp_path / f"a.{ending}", exif=b"Exif\0\0" + exif, quality=95)
    assert difference(read_image(tmp_path / f"a.{ending}"), scene) < 3


def test_what_is_transparent_lies_on_white(scene, tmp_path):
    alpha = np.zeros((24, 40), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    seen = scene.copy()
    seen.putalpha(Image.fromarray(alpha))
    seen.save(tmp_path / "a.png")
    share = alpha[..., None] / 255
    shown = np.asarray(scene) * share + 255 * (1 - share)
    found = np.asarray(read_image(tmp_path / "a.png"), float)
    assert (found[:, :10] == 255).all()
    assert np.abs(found - shown).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_transparency_of_other_kinds_lies_on_white_too(tmp_path, mode):
    """Grey with alpha, a palette with a transparent colour, and a grey or a colour that stands for transparent."""
    grey = Image.fromarray(np.repeat(np.array([[0, 100, 200]], np.uint8), 4, axis=0))
    if mode == "LA":
        grey.putalpha(Image.fromarray(np.repeat(np.array([[0, 255, 255]], np.uint8), 4, axis=0)))
        grey.save(tmp_path / "a.png")
    elif mode == "P":
        indexed = Image.fromarray(np.repeat(np.array([[0, 1, 2]], np.uint8), 4, axis=0), mode="P")
        indexed.putpalette([0, 0, 0, 100, 100, 100, 200, 200, 200])
        indexed.save(tmp_path / "a.png", transparency=0)
    else:
        grey.convert(mode).save(tmp_path / "a.png", transparency=0 if mode == "L" else (0, 0, 0))
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert found[0].tolist() == [[255] * 3, [100] * 3, [200] * 3]


def test_a_palette_shows_its_colours(scene, tmp_path):
    scene.quantize(256).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    assert difference(read_image(tmp_path / "a.png"), scene) < 6


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_inks_become_colours(scene, tmp_path, ending):
    scene.convert("CMYK").save(tmp_path / f"a.{ending}", quality=95)
    assert Image.open(tmp_path / f"a.{ending}").mode == "CMYK"
    assert difference(read_image(tmp_path / f"a.{ending}"), scene) < 4


@pytest.mark.parametrize("ending", ["jpg", "png", "pgm"])
def test_grey_is_the_same_in_all_three_colours(scene, tmp_path, ending):
    scene.convert("L").save(tmp_path / f"a.{ending}", quality=95)
    assert difference(read_image(tmp_path / f"a.{ending}"), scene.convert("L").convert("RGB")) < 2


def test_black_and_white_stay_black_and_white(scene, tmp_path):
    scene.convert("1").save(tmp_path / "a.png")
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert set(np.unique(found)) == {0, 255}


def sixteen_bits(values: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits, which Pillow does not write in colour: values (h, w, channels), big-endian."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["grey png", "colour png", "grey tif"])
def test_sixteen_bits_become_eight(scene, tmp_path, kind):
    wanted = scene if kind == "colour png" else scene.convert("L").convert("RGB")
    fine = np.asarray(scene if kind == "colour png" else scene.convert("L"), np.uint16) * 257
    file = tmp_path / f"a.{kind[-3:]}"
    if kind == "grey tif":
        Image.fromarray(fine).save(file)
    else:
        file.write_bytes(sixteen_bits(fine, 2 if kind == "colour png" else 0))
    assert difference(read_image(file), wanted) <= 1


def test_the_first_of_several_frames_is_shown(scene, tmp_path):
    scene.save(tmp_path / "a.webp", save_all=True, append_images=[Image.new("RGB", scene.size)], lossless=True)
    assert difference(read_image(tmp_path / "a.webp"), scene) < 1


def encoded(scene: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    scene.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("content", ["nothing", "words", "half a jpeg", "half a png", "half a tiff", "half a webp"])
def test_what_holds_no_whole_image_is_named(scene, tmp_path, content):
    path = tmp_path / "a [1], b=c.jpg"
    path.write_bytes({"nothing": b"", "words": b"these are words\n" * 9}.get(content, b""))
    if content.startswith("half"):
        whole = encoded(scene, content.rpartition(" ")[2])
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Undecodable) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path} can't be read as an image (")
    assert str(caught.value).endswith("): replace the file.")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on odd notes within a TIFF
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "bmp", "ppm"])
def test_damage_of_any_kind_ends_in_a_sentence(scene, tmp_path, kind):
    """Bytes are changed at random: what is read is an image, or a UserError, and never another exception."""
    whole, random = encoded(scene, kind), np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in random.integers(0, len(content), random.integers(1, 12)):
            content[place] = random.integers(256)
        (tmp_path / "a").write_bytes(content)
        with suppress(UserError):
            assert read_image(tmp_path / "a").mode == "RGB"
        read_image_size(tmp_path / "a")


@pytest.mark.parametrize(
    ("error", "lasting"), [(struct.error("short"), True), (IndexError(7), True), (MemoryError(), False)]
)
def test_whatever_a_decoder_raises_the_file_is_named(scene, tmp_path, monkeypatch, error, lasting):
    def fail(*args):
        raise error

    scene.convert("L").save(tmp_path / "a.bmp")
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UserError, match=r"a.bmp can't be read as an image") as caught:
        read_image(tmp_path / "a.bmp")
    assert isinstance(caught.value, Undecodable) == lasting


def test_a_image_too_large_to_be_meant_well_is_refused(scene, tmp_path, monkeypatch):
    scene.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Undecodable, match="can't be read as an image"):
        read_image(tmp_path / "a.png")
    assert read_image_size(tmp_path / "a.png") is None


def test_a_file_that_the_disk_refuses_is_no_damaged_image(tmp_path):
    for path in (tmp_path / "gone.jpg", tmp_path):
        with pytest.raises(UserError, match="can't be read as an image") as caught:
            read_image(path)
        assert not isinstance(caught.value, Undecodable)


def test_a_size_is_told_without_decoding(scene, tmp_path):
    scene.resize((400, 240)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert read_image_size(tmp_path / "a.jpg") == read_image_size(tmp_path / "half.jpg") == (400, 240)
    (tmp_path / "none.jpg").write_bytes(b"words")
    assert read_image_size(tmp_path / "none.jpg") is None


def test_a_images_name_is_told_by_its_ending():
    assert all(is_image_file(PurePath(f"a{ending}")) for ending in IMG_EXTENSIONS)
    assert is_image_file(PurePath("A.JPG"))
    assert not any(is_image_file(PurePath(name)) for name in (".a.jpg", "._a.jpg", "a.txt", "a", "jpg"))


NAMES = ["a b.jpg", "a=b.png", "a,b.JPG", "a [1].jpg", "a*.webp", "ä ö.jpeg", "-v.jpg", "a#b%20.tif"]


@pytest.mark.parametrize("name", NAMES)
def test_a_image_is_found_by_its_own_name(scene, tmp_path, name):
    folder = tmp_path / "my, best [2020]=photos"
    folder.mkdir()
    scene.save(folder / name)
    assert find_images([str(folder / name)]) == [folder / name]
    assert find_images([str(folder)]) == [folder / name]
    assert read_image(folder / name).size == (40, 24)


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b/2.jpg",
        "b/10.jpg",
        "b/deep/er/3.PNG",
        "a.jpg",
        ".hidden.jpg",
        ".thumbs/4.jpg",
        "b/._2.jpg",
        "b/n.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_means_all_visible_images_below_it_in_order(tree):
    names = [path.relative_to(tree).as_posix() for path in find_images([str(tree)])]
    assert names == ["a.jpg", "b/10.jpg", "b/2.jpg", "b/deep/er/3.PNG"]


def test_patterns_and_names_are_joined_and_none_comes_twice(tree, monkeypatch):
    monkeypatch.chdir(tree)
    names = [str(path) for path in find_images(["b/*.jpg", "a.jpg", "b", "b/**/*.PNG"])]
    assert names == ["b/10.jpg", "b/2.jpg", "a.jpg", "b/deep/er/3.PNG"]


def test_a_pattern_may_stand_in_a_folder_whose_name_holds_brackets(scene, tmp_path):
    folder = tmp_path / "photos [2020]"
    folder.mkdir()
    scene.save(folder / "1.jpg")
    assert find_images([str(folder / "*.jpg")]) == [folder / "1.jpg"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("empty", "holds no images"), ("none*.jpg", "is no file or folder, and no file matches")],
)
def test_a_name_that_finds_nothing_is_told(tmp_path, name, sentence):
    (tmp_path / "empty").mkdir()
    path = os.path.join(tmp_path, name)
    with pytest.raises(UserError) as caught:
        find_images([path])
    assert str(caught.value).startswith(f"images={path} {sentence}")


# Any grey from black to white: uint8 (16, 16).
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)
UNIT = GREYS / np.float32(255)
TIFFS = {
    "float": (tiff(UNIT.astype("<f4")), None),
    "float, white is zero": (tiff(1 - UNIT.astype("<f4"), 0), None),
    "float of -1 to 1": (tiff((2 * UNIT - 1).astype("<f4")), (-1, 1)),
    "float of -1 to 1 by its tags": (tiff((2 * UNIT - 1).astype("<f4"), lowest=-1, highest=1), None),
    "half of a range by its tags": (tiff(GREYS.astype("<f4"), lowest=0, highest=255), None),
    "float of 0 to 255": (tiff(GREYS.astype("<f4")), (0, 255)),
    "float among integers of 0 to 255": (tiff(UNIT.astype("<f4")), (0, 255)),
    "32 bits of 0 to 255": (tiff(GREYS.astype("<i4")), (0, 255)),
    "32 bits, all": (tiff((GREYS.astype(np.int64) * 16843009 - 2**31).astype("<i4")), (-(2**31), 2**31 - 1)),
    "unsigned 32 bits, all": (tiff((GREYS.astype(np.int64) * 16843009).astype("<u4")), (0, 2**32 - 1)),
    "signed 16 bits": (tiff((GREYS.astype(np.int32) * 257 - 2**15).astype("<i2")), (-(2**15), 2**15 - 1)),
    "signed 8 bits": (tiff((GREYS.astype(np.int16) - 128).astype("i1")), (-128, 127)),
    "16 bits": (tiff(GREYS.astype("<u2") * 257), None),
    "16 bits, white is zero": (tiff(65535 - GREYS.astype("<u2") * 257, 0), None),
    "8 bits, white is zero": (tiff(255 - GREYS, 0), None),
    "16 bits by their bits, whatever the range": (tiff(GREYS.astype("<u2") * 257), (0, 255)),
}


@pytest.mark.parametrize("name", TIFFS)
def test_numbers_of_any_kind_show_the_same_greys(tmp_path, name):
    content, value_range = TIFFS[name]
    (tmp_path / "a.tif").write_bytes(content)
    image = read_image(tmp_path / "a.tif", value_range=value_range)
    assert np.array_equal(np.asarray(image), np.repeat(GREYS[..., None], 3, axis=2))


def test_no_image_is_scaled_by_its_own_numbers(tmp_path):
    for name, values in (("dark", GREYS // 4), ("bright", 255 - GREYS // 4)):
        (tmp_path / name).write_bytes(tiff(values.astype("<i4")))
        image = read_image(tmp_path / name, value_range=(0, 255))
        assert np.array_equal(np.asarray(image)[..., 0], values)


def test_a_part_of_a_range_below_zero_is_read_by_the_range(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(UNIT.astype("<f4")))
    bright = np.asarray(read_image(tmp_path / "a.tif", value_range=(-1, 1)))
    assert (bright.min(), bright.max()) == (127, 255)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (GREYS.astype("<i4"), "TIFF of 32 bits, signed, 0 to 255"),
        ((GREYS.astype(np.int64) * 16843009).astype("<u4"), "TIFF of 32 bits, unsigned, 0 to 4.29497e+09"),
        ((GREYS.astype(np.int16) - 128).astype("<i2"), "TIFF of 16 bits, signed, -128 to 127"),
        ((GREYS.astype(np.int16) - 128).astype("i1"), "TIFF of 8 bits, signed, -128 to 127"),
        (GREYS.astype("<f4"), "TIFF of 32 bits, float, 0 to 255"),
        (np.where(GREYS == 7, np.nan, UNIT).astype("<f4"), "TIFF of 32 bits, float, nan to nan"),
        (UNIT.astype("<f8"), "a TIFF of 64 bits, float, is not read"),
    ],
)
def test_numbers_without_a_range_are_refused_with_their_format(tmp_path, values, words):
    (tmp_path / "a.tif").write_bytes(tiff(values))
    with pytest.raises(Undecodable) as caught:
        read_image(tmp_path / "a.tif")
    assert words in str(caught.value)
    assert ("data.value_range=[BLACK,WHITE]" in str(caught.value)) == (values.dtype != np.float64)


def test_an_image_that_a_caller_gives_is_not_changed(scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    scene.save(file, "PNG", exif=exif)
    given = Image.open(file)
    assert reading.to_rgb(given).size == (24, 40)
    assert given.size == (40, 24)
    assert given.getexif()[0x0112] == 6


def test_linked_folders_are_entered_and_loops_of_links_end(tmp_path):
    for name in ("photos/a/1.jpg", "elsewhere/2.jpg", "elsewhere/deep/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    links = {
        "photos/b": "elsewhere",
        "photos/a/up": "photos",
        "elsewhere/back": "photos",
        "elsewhere/self": "elsewhere",
    }
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    names = [path.relative_to(tmp_path / "photos").as_posix() for path in find_images([str(tmp_path / "photos")])]
    assert names == ["a/1.jpg", "b/2.jpg", "b/deep/3.jpg"]


def test_each_file_that_gets_no_answer_is_named_and_other_jpegs_get_one(tree, capsys):
    for name in ["x.jfif", "b/y.JPE", "z.PSD", "anim.gif", *[f"b/{k:02}.svg" for k in range(30)]]:
        (tree / name).touch()
    (tree / "gone.jpg").symlink_to(tree / "nowhere.jpg")
    names = [path.relative_to(tree).as_posix() for path in find_images([str(tree)])]
    assert names == ["a.jpg", "b/10.jpg", "b/2.jpg", "b/deep/er/3.PNG", "b/y.JPE", "x.jfif"]
    note = capsys.readouterr().err
    assert "anim.gif" in note
    assert "b/18.svg and 14 more." in note
    assert ".hidden" not in note


def test_the_transparent_number_of_16_bit_grey_is_white(tmp_path):
    values = np.array([[1000, 1001], [40000, 1000]], np.uint16)
    file = tmp_path / "a.png"
    file.write_bytes(sixteen_bits(values, 0))
    assert np.asarray(read_image(file))[..., 0].tolist() == [[3, 3], [155, 3]]
    assert "range" not in find_traits([file])
    # Behind the signature and the header, which take 33 bytes.
    content, mark = file.read_bytes(), struct.pack(">H", 1000)
    mark = struct.pack(">I", 2) + b"tRNS" + mark + struct.pack(">I", zlib.crc32(b"tRNS" + mark))
    file.write_bytes(content[:33] + mark + content[33:])
    assert np.asarray(read_image(file))[..., 0].tolist() == [[255, 3], [155, 255]]
    # Earlier versions read it otherwise: what they kept is not taken.
    assert "range" in find_traits([file])


@pytest.mark.parametrize("bits", [2, 4])
def test_the_transparent_number_of_few_bits_is_white(tmp_path, bits):
    # Rows of 8 images with one number each: 0, 1, and 2, which is transparent.
    packed = [sum(number << (8 - bits * (k + 1)) for k in range(8 // bits)) for number in (0, 1, 2)]
    rows = b"".join(bytes([0]) + bytes([byte]) * bits for byte in packed)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 8, 3, bits, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 2))]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    file = tmp_path / "a.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    )
    assert np.asarray(read_image(file))[:, 0, 0].tolist() == [0, 255 // (2**bits - 1), 255]
    assert "range" in find_traits([file])


SCENE = np.random.default_rng(0).integers(0, 256, (6, 9, 4)).astype(np.uint8)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("extra", [None, 2])
def test_a_fourth_channel_is_alpha_only_if_the_file_says_so(tmp_path, planes, extra):
    file = tmp_path / "a.tif"
    file.write_bytes(colour_tiff(SCENE, planes, extra))
    shown = np.asarray(read_image(file)).astype(int)
    share = SCENE[..., 3:] / 255 if extra else 1
    assert np.abs(shown - (SCENE[..., :3] * share + 255 * (1 - share))).max() <= 1
    assert ("range" in find_traits([file])) == (extra is None)


def test_16_bits_are_right_or_refused(tmp_path):
    file, values = tmp_path / "a.tif", SCENE[..., :3].astype("<u2") * 257
    file.write_bytes(colour_tiff(values))
    assert (np.asarray(read_image(file)) == SCENE[..., :3]).all()
    assert "range" not in find_traits([file])
    file.write_bytes(colour_tiff(values, planes=True))
    # Pillow would read every second byte as a number of its own.
    with pytest.raises(Undecodable, match=r"a\.tif .*uncompressed planes of 16 bits.*: save it compressed"):
        read_image(file)
    with Image.open(file) as opened, pytest.raises(Undecodable, match="uncompressed planes"):
        reading.to_rgb(opened)
    assert "range" in find_traits([file])

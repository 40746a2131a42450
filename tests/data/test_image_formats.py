"""Images as telephones, cameras and scanners write them: HEIC, AVIF, 16 bits, many channels, colour profiles."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from flowers_tl.data import image_formats
from flowers_tl.data.cached.content_hash import describe_images, find_traits
from flowers_tl.data.image_folder import read_folder
from flowers_tl.data.image_formats import make_transform
from flowers_tl.data.image_io import Undecodable, find_images, is_image_file, read_image, read_image_size

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def scene() -> Image.Image:
    y, x = np.mgrid[0:48, 0:80]
    return Image.fromarray(np.stack([x * 3, y * 5, 255 - x - y], axis=2).astype(np.uint8))


def wide() -> bytes:
    """A profile like Adobe's, of sRGB with red and green swapped: what it does is known."""
    tags, count = bytearray(SRGB), struct.unpack(">I", SRGB[128:132])[0]
    rows = {SRGB[at : at + 4]: at for at in range(132, 132 + 12 * count, 12)}
    red, green = rows[b"rXYZ"] + 4, rows[b"gXYZ"] + 4
    tags[red : red + 8], tags[green : green + 8] = SRGB[green : green + 8], SRGB[red : red + 8]
    return bytes(tags)


def distance(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_profile_is_applied_and_that_of_srgb_changes_no_byte(scene, tmp_path, ending):
    file, plain = tmp_path / f"a.{ending}", tmp_path / f"plain.{ending}"
    options = {"quality": 95} if ending != "tif" else {}
    scene.save(plain, **options)
    scene.save(file, icc_profile=SRGB, **options)
    assert np.array_equal(read_image(file), read_image(plain))
    assert find_traits([file, plain]) == set()
    scene.save(file, icc_profile=wide(), **options)
    swapped = Image.fromarray(np.asarray(scene)[..., [1, 0, 2]])
    assert distance(read_image(file), swapped) < 4 < distance(read_image(file), scene)
    assert find_traits([file, plain]) == {"profile"}
    assert "profiles" in describe_images([file], 32, None)
    assert "profiles" not in describe_images([plain], 32, None)
    scene.save(file, icc_profile=b"words" * 40, **options)
    assert np.array_equal(read_image(file), read_image(plain))


def test_a_profile_acts_on_transparent_images_and_palettes_too(scene, tmp_path):
    seen = scene.copy()
    seen.putalpha(Image.fromarray(np.repeat([[0, 255]], 40, axis=1).astype(np.uint8).repeat(48, axis=0)))
    seen.save(tmp_path / "a.png", icc_profile=wide())
    found = np.asarray(read_image(tmp_path / "a.png"))
    assert (found[:, :40] == 255).all()
    assert np.abs(found[:, 40:].astype(int) - np.asarray(scene)[:, 40:, [1, 0, 2]]).max() <= 2
    Image.new("P", (8, 8), 1).save(tmp_path / "p.png", icc_profile=wide())
    grey = np.asarray(read_image(tmp_path / "p.png"))
    assert np.ptp(grey, axis=-1).max() <= 1
    assert make_transform(wide(), "CMYK") is None
    # A profile of greys: one with a transparent number is read, and a profile of colours is not for greys.
    scene.convert("L").save(tmp_path / "g.png", icc_profile=wide(), transparency=3)
    scene.convert("L").save(tmp_path / "plain.png", transparency=3)
    assert np.array_equal(read_image(tmp_path / "g.png"), read_image(tmp_path / "plain.png"))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(scene, tmp_path):
    scene.save(tmp_path / "a.avif", quality=95)
    assert distance(read_image(tmp_path / "a.avif"), scene) < 4
    assert read_image_size(tmp_path / "a.avif") == scene.size
    assert find_images([str(tmp_path)]) == [tmp_path / "a.avif"]


def test_heic_is_read_whatever_it_is_called_and_counts_as_another_image_then(scene, tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    file = tmp_path / "a.jpg"
    heif.from_pillow(scene).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(file)
    assert distance(read_image(file), scene) < 4
    assert read_image_size(file) == scene.size
    described = describe_images([file], 32, None)
    monkeypatch.setattr(image_formats, "load_heif", lambda: None)
    with pytest.raises(
        Undecodable, match=r"a.jpg can't be read as an image: HEIC needs pillow-heif: pip install '.\[heif\]'"
    ):
        read_image(file)
    assert read_image_size(file) is None
    assert described["heif"] == heif.__version__


def test_without_pillow_heif_a_heic_file_is_unreadable_and_not_foreign(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_formats.load_heif.cache_clear()
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    assert is_image_file(Path("a.HEIC"))
    with pytest.raises(Undecodable, match="HEIC needs pillow-heif"):
        read_image(tmp_path / "a.HEIC")
    image_formats.load_heif.cache_clear()


def png(values: np.ndarray, colour: int, transparent: bytes) -> bytes:
    """A PNG of 16 bits with a transparent number or colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)) + chunk(b"tRNS", transparent)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_are_rounded_once_and_one_number_may_be_transparent(tmp_path):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "a.png").write_bytes(png(values, 0, struct.pack(">H", 300)))
    found = np.asarray(read_image(tmp_path / "a.png"))[..., 0]
    assert np.array_equal(found, np.where(values == 300, 255, values // 257))
    colours = np.stack([values, values.T, values[::-1]], axis=-1)
    (tmp_path / "a.png").write_bytes(png(colours, 2, struct.pack(">HHH", 300, 300, 300)))
    with pytest.raises(Undecodable, match="16 bits with a transparent colour are not read: save it"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("extra", "photometric"), [(1, 2), (2, 2), (4, 1)])
def test_a_tiff_of_several_channels_is_red_green_blue_by_its_header_or_refused(tmp_path, extra, photometric):
    values = np.random.default_rng(0).integers(0, 256, (12, 10, 3 + extra), dtype=np.uint8)
    channels = values.shape[-1]
    rows = [(256, 4, 1, 10), (257, 4, 1, 12), (258, 3, channels, 0), (259, 3, 1, 1), (262, 3, 1, photometric)]
    rows += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, 12), (279, 4, 1, values.size), (338, 3, extra, 0)]
    places = 8 + values.size
    content, beside = values.tobytes(), b""
    directory = struct.pack("<H", len(rows))
    start = places + 2 + 12 * len(rows) + 4
    for tag, form, count, value in rows:
        if count > 2:
            numbers = struct.pack(f"<{count}H", *([8] * count if tag == 258 else [0] * count))
            value, beside = start + len(beside), beside + numbers
        directory += struct.pack("<HHII", tag, form, count, value)
    file = tmp_path / "a.tif"
    file.write_bytes(b"II*\0" + struct.pack("<I", places) + content + directory + struct.pack("<I", 0) + beside)
    if photometric == 2:
        assert np.array_equal(read_image(file), values[..., :3])
    else:
        with pytest.raises(Undecodable, match="a TIFF of 7 channels of 8 bits, unsigned, is not read"):
            read_image(file)


def test_what_systems_leave_in_folders_is_passed_over_without_a_word(scene, tmp_path, capsys):
    for name in ("rose", "aster", "__MACOSX/rose", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir(parents=True)
        buffer = io.BytesIO()
        scene.save(buffer, "png")
        (tmp_path / name / "1.png").write_bytes(buffer.getvalue())
        for junk in ("Thumbs.db", ".DS_Store", "desktop.ini"):
            (tmp_path / name / junk).write_bytes(b"x")
    assert read_folder(tmp_path)["train"].classes == ["aster", "rose"]
    assert find_images([str(tmp_path)]) == [tmp_path / "aster" / "1.png", tmp_path / "rose" / "1.png"]
    assert capsys.readouterr().err == ""

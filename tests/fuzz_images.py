"""Gives the image reader mutated images for a while: ``python -m tests.fuzz_images SECONDS SEED FOLDER``.

The reader must return an RGB image or raise UserError, within 10 seconds and 2 GB above what the process had. What breaks this
is left in FOLDER, and its path is printed. The tries and the largest memory are printed at the end.
"""

import io
import random
import resource
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from flowers_tl.data.image_io import read_image, read_image_size
from flowers_tl.utils.errors import UserError
from tests.odd_images import tiff

SIDE, LIMIT_S, LIMIT_MB = 24, 10, 2000
EXTREMES = (0, 1, 2, 255, 256, 4096, 30_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def seeds() -> dict[str, bytes]:
    """Small good images of each format, mode and compression that are meant."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    rgba = Image.fromarray(values)
    sixteen = Image.fromarray(rng.integers(0, 65_536, (SIDE, SIDE), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, str, dict]] = {
        "jpeg": (rgba.convert("RGB"), "JPEG", {"exif": exif}),
        "progressive": (rgba.convert("RGB"), "JPEG", {"progressive": True}),
        "cmyk": (rgba.convert("CMYK"), "JPEG", {}),
        "png": (rgba, "PNG", {"exif": exif}),
        "palette": (rgba.convert("P"), "PNG", {"transparency": 3}),
        "png16": (sixteen, "PNG", {}),
        "bits": (rgba.convert("1"), "PNG", {}),
        "tiff": (rgba, "TIFF", {}),
        "lzw": (rgba.convert("RGB"), "TIFF", {"compression": "tiff_lzw"}),
        "deflate": (rgba.convert("L"), "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff16": (sixteen, "TIFF", {}),
        "webp": (rgba, "WEBP", {}),
        "lossless": (rgba, "WEBP", {"lossless": True}),
        "bmp": (rgba.convert("RGB"), "BMP", {}),
        "gif": (rgba.convert("P"), "GIF", {}),
        "ppm": (rgba.convert("RGB"), "PPM", {}),
    }
    made = {}
    for name, (image, form, options) in kinds.items():
        image.save(file := io.BytesIO(), form, **options)
        made[name] = file.getvalue()
    made["float"] = tiff(rng.random((SIDE, SIDE), dtype=np.float32))
    made["signed"] = tiff(rng.integers(-99, 99, (SIDE, SIDE)).astype(np.int16), lowest=-99, highest=99)
    return made


def mutate(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """One to six changes: bytes, numbers at their extremes, pieces moved, doubled, cut off or taken from another image."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        # Headers are short, and matter most.
        place = draw.randrange(min(len(data), draw.choice([32, 128, len(data)])) or 1)
        kind = draw.randrange(7)
        if kind <= 1:
            data[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 2:
            form = draw.choice(["<H", ">H", "<I", ">I"])
            number = struct.pack(form, draw.choice(EXTREMES) % 256 ** struct.calcsize(form))
            data[place : place + len(number)] = number
        elif kind == 3:
            del data[draw.randrange(len(data) or 1) :]
        elif kind == 4:
            piece = data[place : place + draw.randrange(1, 64)]
            data[place:place] = piece * draw.choice([1, 2, 50])
        elif kind == 5:
            other = draw.choice(others)
            data[place:] = other[min(place, len(other)) :]
        else:
            del data[place : place + draw.randrange(1, 16)]
    return with_checksums(bytes(data)) if draw.random() < 0.7 else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """A PNG's chunks with right checksums, so that not each mutant ends at the first of them; other data as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return bytes(out)


def check(file: Path, side: int | None) -> None:
    """Read a mutant; raise AssertionError or anything else where the reader breaks its promise."""
    size = read_image_size(file)
    assert size is None or min(size) >= 0, f"its size is {size}"
    try:
        image = read_image(file, side=side)
    except UserError as error:
        image, told = None, str(error)
    if image is None:
        assert str(file) in told, f"the sentence does not name the file: {told}"
        return
    assert image.mode == "RGB", f"its mode is {image.mode}"
    assert image.width * image.height > 0, f"its size is {image.size}"
    assert len(image.tobytes()) == 3 * image.width * image.height


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(seconds: float, seed: int, folder: Path) -> int:
    """Return the number of mutants that broke the reader."""
    draw, good, broken, tries = random.Random(seed), seeds(), 0, 0
    for name, content in good.items():
        (folder / "mutant").write_bytes(content)
        assert read_image(folder / "mutant").size == (SIDE, SIDE), f"{name} is not read before it is mutated."
    began, first, before = time.monotonic(), peak_mb(), peak_mb()
    while time.monotonic() - began < seconds:
        name = draw.choice(list(good))
        file = folder / f"mutant.{draw.choice(['jpg', 'png', 'tif', 'webp', 'bmp'])}"
        file.write_bytes(mutate(good[name], list(good.values()), draw))
        tries, started = tries + 1, time.monotonic()
        # A decoder that never ends is killed, and its mutant stays.
        signal.alarm(4 * LIMIT_S)
        try:
            check(file, draw.choice([None, 8]))
            reason = ""
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        if time.monotonic() - started > LIMIT_S:
            reason = f"it took {time.monotonic() - started:.0f} s"
        if peak_mb() - first > LIMIT_MB and peak_mb() > before:
            reason = f"it took {peak_mb() - first:.0f} MB"
        before = peak_mb()
        if reason:
            broken += 1
            kept = folder / f"{name}_{tries}{file.suffix}"
            file.rename(kept)
            print(f"{kept}: {reason}")
    print(f"{tries} mutants, {broken} broke the reader, {peak_mb() - first:.0f} MB at most above {first:.0f} MB")
    return broken


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])) > 0)

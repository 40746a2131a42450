"""Image files of kinds that no library here writes."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def tiff(values: np.ndarray, photometric: int = 1, **tags: float) -> bytes:
    """A grey TIFF of any numbers (height, width), which Pillow does not write: one strip, little-endian."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    rows = [(256, 4, width), (257, 4, height), (258, 3, 8 * values.itemsize), (259, 3, 1), (262, 3, photometric)]
    rows += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, values.nbytes), (339, 3, kind)]
    rows += [(tag, 11, tags[name]) for name, tag in (("lowest", 340), ("highest", 341)) if name in tags]
    listed = b"".join(
        struct.pack("<HHI", tag, form, 1) + (struct.pack("<f", value) if form == 11 else struct.pack("<I", value))
        for tag, form, value in rows
    )
    directory = struct.pack("<H", len(rows)) + listed + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + values.nbytes) + values.tobytes() + directory


def colour_tiff(values: np.ndarray, planes: bool = False, extra: int | None = None) -> bytes:
    """A TIFF of unsigned numbers (height, width, channels), uncompressed; ``extra`` is what it says of a fourth channel (0, 1, 2)."""
    height, width, channels = values.shape
    raw = (values.transpose(2, 0, 1) if planes else values).tobytes()
    strips = channels if planes else 1
    rows = {256: [width], 257: [height], 258: [8 * values.itemsize] * channels, 259: [1], 262: [2], 277: [channels]}
    rows |= {278: [height], 284: [2 if planes else 1]} | ({} if extra is None else {338: [extra]})
    rows |= {273: [8 + k * len(raw) // strips for k in range(strips)], 279: [len(raw) // strips] * strips}
    start, later, listed = 8 + len(raw), b"", b""
    for tag, numbers in sorted(rows.items()):
        content = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = start + 2 + 12 * len(rows) + 4 + len(later)
            later, content = later + content, struct.pack("<I", place)
        listed += struct.pack("<HHI", tag, 4, len(numbers)) + content
    return b"II*\0" + struct.pack("<I", start) + raw + struct.pack("<H", len(rows)) + listed + bytes(4) + later


def png(width: int, height: int, bits: int = 8, colours: int = 0) -> bytes:
    """A black PNG, however large, in a few bytes; ``colours`` is its kind (0: grey, 2: RGB, 4: grey with alpha, 6: RGBA)."""
    row = bytes(1 + (width * {0: 1, 2: 3, 4: 2, 6: 4}[colours] * bits + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def tags(count: int, size: int, **more: int) -> bytes:
    """A TIFF of 10 by 10 pixels with further tags, of which each names the file's first ``size`` bytes."""
    rows = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    rows += [(322, 4, 1, more["tile"]), (323, 4, 1, more["tile"]), (324, 4, 1, 8), (325, 4, 1, 100)] if more else []
    rows += [] if more else [(273, 4, 1, 8), (278, 4, 1, 10), (279, 4, 1, 100)]
    # Of these numbers none has a meaning.
    rows += [(50000 + k, 1, size, 0) for k in range(count)]
    listed = b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    return (b"II*\0" + struct.pack("<IH", 8, len(rows)) + listed + bytes(4)).ljust(size, b"\0")


def scans(side: int, count: int) -> bytes:
    """A black progressive JPEG that goes over its pixels so many more times."""
    file = BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    # The last scan, with the table before it.
    last = content.rindex(b"\xff\xc4")
    return content[:-2] + content[last:-2] * count + b"\xff\xd9"

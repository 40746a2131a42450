"""Image files of kinds that no library here writes."""

import struct

import numpy as np


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

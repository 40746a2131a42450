"""Rows are written by a thread of their own: in their order, all of them, and no error is lost."""

import io
import zlib

import pytest
import torch

from flowers_tl.data.cached.writer import Writer
from flowers_tl.utils.threads import AHEAD


class FullDisk(io.BytesIO):
    """Has room for two rows."""

    def write(self, raw):
        if self.tell() >= 2 * len(raw):
            raise OSError(28, "No space left on device")
        return super().write(raw)


def write(rows, file, error=None):
    """Write so many rows, and raise the error."""
    with Writer(file) as writer:
        for _ in range(rows):
            writer.write(torch.zeros(8))
        if error:
            raise error


def test_rows_stand_in_their_order_with_their_checksum():
    rows, file = [torch.full((k, 3), k, dtype=torch.float32) for k in range(1, 40)], io.BytesIO()
    with Writer(file) as writer:
        for row in rows:
            writer.write(row.t().contiguous().t())
    content = b"".join(row.numpy().tobytes() for row in rows)
    assert file.getvalue() == content
    assert (writer.bytes, writer.checksum) == (len(content), zlib.crc32(content))
    assert writer.shapes == [[k, 3] for k in range(1, 40)]


@pytest.mark.parametrize("rows", [3, 5 * AHEAD])
def test_a_row_that_was_not_written_is_an_error_of_a_later_row_or_of_the_end(rows):
    with pytest.raises(OSError, match="No space left"):
        write(rows, FullDisk())


def test_the_error_of_who_computes_the_rows_stays():
    with pytest.raises(ValueError, match="of the computation"):
        write(3, FullDisk(), ValueError("of the computation"))

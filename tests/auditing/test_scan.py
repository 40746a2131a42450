"""What is known of an image's pixels does not depend on how it is turned."""

import numpy as np

from flowers_tl.auditing.scan import hash_pixels


def test_a_hash_of_pixels_knows_turned_and_mirrored_copies():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    assert len({hash_pixels(np.rot90(side, k)) for side in (pixels, pixels[:, ::-1]) for k in range(4)}) == 1
    other = pixels.copy()
    other[2, 3] += 1
    assert hash_pixels(other) != hash_pixels(pixels)
    # The rows' bytes alone do not say how long they are.
    assert hash_pixels(np.zeros((2, 6, 3), np.uint8)) != hash_pixels(np.zeros((3, 4, 3), np.uint8))

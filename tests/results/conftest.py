"""Logits and labels that tests of scores share."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def answered():
    """Logits (200, 7) and labels (200,) of seven classes, of which one does not occur."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200)
    labels[labels == 4] = 5
    logits = rng.normal(size=(200, 7)).astype(np.float32)
    logits[np.arange(200), labels] += 1.5
    return logits, labels

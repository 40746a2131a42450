"""What TensorBoard shows of a run's answers is what it answered."""

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flowers_tl.results.images import TILE, confusion_image, mistakes_image
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.training.run import train


@pytest.fixture
def split(tmp_path):
    """Four images of three classes: right, wrong and sure, wrong and unsure, right."""
    for k, colour in enumerate(("red", "lime", "blue", "gray")):
        Image.new("RGB", (80, 60), colour).save(tmp_path / f"{k}.png")
    logits = np.array([[5, 0, 0], [9, 0, 0], [0, 0, 0.5], [0, 0, 1]], np.float32)
    return SplitPredictions(logits, np.array([0, 1, 1, 2]), [f"{k}.png" for k in range(4)])


def test_a_confusion_is_dark_where_true_and_answered_class_meet(split):
    image, cell = confusion_image(split, ["a", "b"]), 28
    # The corner of each cell: its middle has the number of images.
    light = image[-3 * cell + 2 :: cell, -3 * cell + 2 :: cell].sum(axis=2) / (3 * 255)
    assert light.shape == (3, 3)
    assert light[0, 1] == light[0, 2] == light[2, 0] == light[1, 1] == 1
    assert light[0, 0] == light[2, 2] < light[1, 0] == light[1, 2] < 1


def test_a_confusion_has_the_names_of_few_classes_and_the_counts(split):
    image, cell = confusion_image(split, ["a", "b", "c"]), 28
    rows, columns = image[-3 * cell :, : -3 * cell], image[: -3 * cell, -3 * cell :]
    # A name stands in line with its cells, in letters darker than grey.
    for k in range(3):
        assert (rows[k * cell : (k + 1) * cell] < 100).any()
        assert (columns[:, k * cell : (k + 1) * cell] < 100).any()
    # The row of the second class has an image in the first column and in the third, none in its own.
    inks = [len(np.unique(image[-2 * cell : -cell, (k - 3) * cell : (k - 2) * cell or None])) > 3 for k in range(3)]
    assert inks == [True, False, True]
    assert not np.array_equal(confusion_image(split, ["a", "b", "c"]), confusion_image(split, ["a", "b", "d"]))


def test_of_many_classes_the_most_confused_are_named():
    logits = np.eye(40, dtype=np.float32)[[*range(40), 7, 7]]
    answers = SplitPredictions(logits, np.array([*range(40), 3, 3]), [])
    names = [f"class {k}" for k in range(40)]
    image = confusion_image(answers, names)
    other = confusion_image(answers, [*names[:7], "other", *names[8:]])
    assert image.shape == other.shape == (3 * 16 + 4 + 40 * 15, 600, 3)
    differs = (image != other).any(axis=(1, 2))
    assert differs[32:48].any()
    assert not differs[48:].any()


def test_the_surest_mistake_comes_first_with_its_image(split, tmp_path):
    sheet = mistakes_image(split, ["a", "b", "c"], tmp_path)
    # Small images fill their tiles but for a gap.
    for number, colour in enumerate(((0, 255, 0), (0, 0, 255))):
        assert (sheet[20, number * TILE + 10] == colour).all()
        assert (sheet[20, (number + 1) * TILE - 2] == 255).all()
    assert (sheet[TILE - 8 :] < 128).any()  # a caption


def test_without_a_mistake_there_is_no_sheet(split, tmp_path):
    right = SplitPredictions(np.eye(3, dtype=np.float32), np.arange(3), split.images[:3])
    assert mistakes_image(right, ["a", "b", "c"], tmp_path) is None


@pytest.mark.parametrize("more", [{}, {"heads.lr": "[1e-4,1e-3]"}])
def test_tensorboard_has_them(config, tiny, tmp_path, more):
    train(config(tiny(**more)), tmp_path)
    for file in tmp_path.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file.parent))
        events.Reload()
        if more and file.parent == tmp_path:
            continue  # the heads' common folder
        assert {"val/confusion", "test/confusion", "test/worst_mistakes"} <= set(events.Tags()["images"])

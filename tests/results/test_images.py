"""What TensorBoard shows of a run's answers is what it answered."""

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flowers_tl.results.images import confusion_image, mistakes_image
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.training.run import train


@pytest.fixture
def split(tmp_path):
    """Four images of three classes: right, wrong and sure, wrong and unsure, right."""
    for k, colour in enumerate(("red", "lime", "blue", "gray")):
        Image.new("RGB", (80, 60), colour).save(tmp_path / f"{k}.png")
    logits = np.array([[5, 0, 0], [9, 0, 0], [0, 0, 0.5], [0, 0, 1]], np.float32)
    return SplitPredictions(logits, np.array([0, 1, 1, 2]), [f"{k}.png" for k in range(4)])


def test_a_confusion_is_dark_where_true_and_answered_class_meet(split):
    image = confusion_image(split)
    cell = len(image) // 3
    light = image[cell // 2 :: cell, cell // 2 :: cell].sum(axis=2) / (3 * 255)
    assert light.shape == (3, 3)
    assert light[0, 1] == light[0, 2] == light[2, 0] == light[1, 1] == 1
    assert light[0, 0] == light[2, 2] < light[1, 0] == light[1, 2] < 1


def test_the_surest_mistake_comes_first_with_its_image(split, tmp_path):
    answers = Predictions(["a", "b", "c"], {"test": split})
    sheet = mistakes_image(answers, split, tmp_path)
    assert (sheet[20, 96] == (0, 255, 0)).all()
    assert (sheet[20, 192 + 96] == (0, 0, 255)).all()
    assert (sheet[192:] < 128).any()  # a caption


def test_without_a_mistake_there_is_no_sheet(split, tmp_path):
    right = SplitPredictions(np.eye(3, dtype=np.float32), np.arange(3), split.images[:3])
    assert mistakes_image(Predictions(["a", "b", "c"], {"test": right}), right, tmp_path) is None


@pytest.mark.parametrize("more", [{}, {"heads.lr": "[1e-4,1e-3]"}])
def test_tensorboard_has_them(config, tiny, tmp_path, more):
    train(config(tiny(**more)), tmp_path)
    for file in tmp_path.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file.parent))
        events.Reload()
        if more and file.parent == tmp_path:
            continue  # the heads' common folder
        assert {"val/confusion", "test/confusion", "test/worst_mistakes"} <= set(events.Tags()["images"])

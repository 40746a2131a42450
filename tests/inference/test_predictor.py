"""A trained network answers as it did in training, whatever form an image comes in, in little memory."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import flowers_tl
from flowers_tl.inference.predictor import Predictor
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError


@pytest.fixture(scope="module")
def predictor(run_folder):
    return flowers_tl.load(run_folder)


def test_it_answers_as_training_tested(predictor, tested):
    split, files = tested
    shares = torch.tensor(split.logits).softmax(1)
    for answer, own in zip(predictor.predict(files, top=3, batch_size=4), shares, strict=True):
        assert answer.classes[0] == predictor.class_names[own.argmax()]
        assert answer.probabilities == pytest.approx(own.sort(descending=True).values.tolist(), abs=1e-5)


def test_a_image_may_come_in_any_form(predictor, tested):
    file = tested[1][0]
    array = np.array(Image.open(file).convert("RGB"))
    forms = [str(file), file, Image.open(file), array, torch.from_numpy(array).permute(2, 0, 1)]
    answers = predictor.predict(forms)
    assert len({(a.classes, a.probabilities) for a in answers}) == 1
    assert [a.image for a in answers] == [str(file), str(file), None, None, None]
    (alone,) = predictor.predict(file)
    assert (alone.image, alone.classes) == (str(file), answers[0].classes)


def test_more_images_do_not_change_an_answer(predictor, tested):
    files = tested[1]
    alone = [predictor.predict(file)[0] for file in files]
    for batch_size in (1, 4, 100):
        for one, several in zip(alone, predictor.predict(files, batch_size=batch_size), strict=True):
            assert one.classes == several.classes
            assert one.probabilities == pytest.approx(several.probabilities, abs=1e-5)


def test_no_more_than_three_batches_are_read_ahead(predictor, tested):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield tested[1][0]

    stream = predictor.stream(endless(), batch_size=2)
    for _ in range(20):
        next(stream)
    assert len(taken) <= 20 + 3 * 2


def test_a_file_that_can_not_be_read_is_an_error_or_left_out(predictor, tested, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    with pytest.raises(UserError, match=r"bad\.jpg"):
        predictor.predict([tested[1][0], bad])
    told = []
    answers = list(predictor.stream([bad, tested[1][0], bad, tested[1][1]], batch_size=1, unreadable=told.append))
    assert [a.image for a in answers] == [str(tested[1][0]), str(tested[1][1])]
    assert len(told) == 2


@pytest.mark.parametrize(
    "thing",
    [
        np.zeros((4, 4, 7), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((0, 0, 3), dtype=np.uint8),
        np.zeros((4, 4, 3)),
        torch.zeros(3, 4, 4),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        None,
        7,
        b"rose.jpg",
    ],
    ids=lambda thing: f"{getattr(thing, 'dtype', thing)} {tuple(getattr(thing, 'shape', ()))}",
)
def test_what_is_no_image_is_refused(predictor, thing):
    with pytest.raises(UserError, match="no image"):
        predictor.predict(thing)


def test_temperature_changes_how_sure_it_is_but_no_answer(predictor, tested, run_folder):
    cooler = flowers_tl.load(run_folder)
    cooler.temperature = 3.0
    for sure, unsure in zip(predictor.predict(tested[1]), cooler.predict(tested[1]), strict=True):
        assert sure.classes == unsure.classes
        assert sure.probabilities[0] > unsure.probabilities[0] > 1 / 3


def test_imagenets_network_answers_with_its_thousand_classes(tmp_path):
    torch.manual_seed(0)
    torch.save(StagedNetwork("squeezenet1_1", 1000).network.state_dict(), tmp_path / "whole.pth")
    network = Predictor.pretrained("squeezenet1_1", str(tmp_path / "whole.pth"), device="cpu")
    (answer,) = network.predict(np.zeros((300, 200, 3), dtype=np.uint8))
    assert len(network.class_names) == 1000
    assert "daisy" in network.class_names
    assert len(answer.classes) == 5


def test_weights_without_imagenets_head_are_refused(tmp_path):
    state = StagedNetwork("squeezenet1_1", 7).network.state_dict()
    torch.save(state, tmp_path / "seven.pth")
    torch.save({name: value for name, value in state.items() if "classifier" not in name}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="a head for 7 classes"):
        Predictor.pretrained("squeezenet1_1", str(tmp_path / "seven.pth"))
    with pytest.raises(UserError, match="has no head"):
        Predictor.pretrained("squeezenet1_1", str(tmp_path / "none.pth"))


@pytest.mark.real_data
def test_imagenet_sees_other_things_in_flowers():
    """The article's domain problem: a network that knows no species answers with what it knows."""
    network = Predictor.pretrained("squeezenet1_1", "squeezenet1_1-imagenet.pth", device="cpu")
    images = sorted((Path(os.environ["FLOWERS102_ROOT"]) / "flowers-102" / "jpg").glob("*.jpg"))[::40]
    answers = network.predict(images, top=1)
    seen = [answer.classes[0] for answer in answers]
    assert seen.count("daisy") >= 10
    assert len(set(seen)) > 10

"""The page answers an upload, and says in a sentence what it can't do."""

import socket
import sys
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from flowers_tl.inference.predictor import Predictor
from flowers_tl.inference.web_demo import VISITORS, answerer, import_gradio, make_page, validate_address
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError


def test_gradio_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"\.\[serve\]"):
        import_gradio()


def test_what_is_no_image_is_told_without_its_folder_and_as_text(tmp_path):
    (tmp_path / "my_*rose*.jpg").write_text("no image")
    network = Predictor(StagedNetwork("squeezenet1_1", 2), ["rose", "aster"], 64, device="cpu")
    gradio = SimpleNamespace(Markdown=lambda text="", visible=True: (text, visible))
    (sentence, visible), *others = answerer(network, {}, False, gradio)(str(tmp_path / "my_*rose*.jpg"))
    assert sentence.startswith(r"my\_\*rose\*.jpg can't be read as an image")
    assert str(tmp_path) not in sentence
    assert visible
    assert others == [None] * 4


def test_examples_are_of_the_classes_that_are_answered(photos):
    folder = photos({"rose": 1, "aster": 1})
    network = Predictor(StagedNetwork("squeezenet1_1", 2), ["rose", "aster"], 64, device="cpu")
    gradio = SimpleNamespace(Markdown=lambda text="", visible=True: (text, visible))
    examples = {"aster": folder / "aster" / "0.jpg"}
    (_, shown), crop, heat, top, gallery = answerer(network, examples, False, gradio)(str(folder / "rose" / "0.jpg"))
    assert not shown
    assert (crop.shape, str(crop.dtype), heat) == ((64, 64, 3), "uint8", None)
    assert set(top) == {"rose", "aster"}
    assert sum(top.values()) == pytest.approx(1, abs=1e-5)
    assert gallery == [(str(examples["aster"]), "aster")]


def test_an_image_that_takes_long_to_read_does_not_stop_other_visitors(photos, monkeypatch):
    folder, reading, goes_on = photos({"rose": 2}), Event(), Event()
    network = Predictor(StagedNetwork("squeezenet1_1", 2), ["rose", "aster"], 64, device="cpu")
    gradio = SimpleNamespace(Markdown=lambda text="", visible=True: (text, visible))
    prepare = network.prepare

    def slow(file):
        if file.endswith("0.jpg"):
            reading.set()
            assert goes_on.wait(60)
        return prepare(file)

    monkeypatch.setattr(network, "prepare", slow)
    answer, answers = answerer(network, {}, False, gradio), []
    visitor = Thread(target=lambda: answers.append(answer(str(folder / "rose" / "0.jpg"))))
    visitor.start()
    assert reading.wait(60)
    assert answer(str(folder / "rose" / "1.jpg"))[3]
    assert not answers
    goes_on.set()
    visitor.join(60)
    assert answers[0][3]


def test_the_page_answers_several_visitors_at_once():
    pytest.importorskip("gradio", reason="needs gradio: pip install 'flowers_tl[serve]'")
    network = Predictor(StagedNetwork("squeezenet1_1", 2), ["rose", "aster"], 64, device="cpu")
    (answer,) = make_page(network, {}, explain=False).fns.values()
    assert answer.concurrency_limit == VISITORS > 1


def test_an_address_at_which_nothing_can_listen_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} can't be used .* another port=N"):
            validate_address("127.0.0.1", port)
    validate_address("127.0.0.1", port)
    for port in (0, 65536):
        with pytest.raises(UserError, match=rf"port={port} must lie between"):
            validate_address("127.0.0.1", port)

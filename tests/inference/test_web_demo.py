"""The page answers an upload, and says in a sentence what it can't do."""

import socket
import sys
from threading import Event, Thread
from types import MappingProxyType, SimpleNamespace

import pytest

from flowers_tl.inference.predictor import Predictor
from flowers_tl.inference.web_demo import (
    VISITORS,
    answerer,
    find_examples,
    heat_scale,
    import_gradio,
    make_page,
    validate_address,
)
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.utils.errors import UserError


def test_gradio_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"\.\[serve\]"):
        import_gradio()


# The page's parts as pairs of a value and whether it is visible.
PAIRS = SimpleNamespace(update=lambda value, visible: (value, visible))
PARTS = ("message", "every", "verdict", "answers", "crop", "heat", "scale", "gallery")


@pytest.fixture
def network():
    return Predictor(StagedNetwork("squeezenet1_1", 2, 64), ["rose", "aster"], "cpu")


def ask(network, files, examples=MappingProxyType({}), place=0, **more) -> dict:
    """The values of the parts; what has none is not visible."""
    pairs = answerer(network, examples, False, PAIRS, **more)(files, place)
    assert all(visible == (value is not None) for value, visible in pairs)
    return dict(zip(PARTS, [value for value, _ in pairs], strict=True))


def test_what_is_no_image_is_told_without_its_folder_and_as_text(network, tmp_path):
    (tmp_path / "my_*rose*.jpg").write_text("no image")
    shown = ask(network, [str(tmp_path / "my_*rose*.jpg")])
    assert shown["message"].startswith(r"my\_\*rose\*.jpg can't be read as an image")
    assert str(tmp_path) not in shown["message"]
    assert [shown[part] for part in PARTS[1:]] == [None] * 7
    assert ask(network, None) == dict.fromkeys(PARTS)


def test_examples_are_of_the_classes_that_are_answered(network, photos):
    folder = photos({"rose": 1, "aster": 1})
    examples = {"aster": folder / "aster" / "0.jpg"}
    shown = ask(network, str(folder / "rose" / "0.jpg"), examples)
    assert (shown["message"], shown["every"], shown["heat"], shown["scale"]) == (None,) * 4
    assert (shown["crop"].shape, str(shown["crop"].dtype)) == ((64, 64, 3), "uint8")
    assert set(shown["answers"]) == {"rose", "aster"}
    assert sum(shown["answers"].values()) == pytest.approx(1, abs=1e-5)
    assert shown["gallery"] == [(str(examples["aster"]), "aster")]
    assert (
        shown["verdict"]
        == f"**{max(shown['answers'], key=shown['answers'].get)} ({max(shown['answers'].values()):.1%})**"
    )


def test_training_images_are_found_from_another_folder_and_only_those_of_the_record(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = Predictor.load(run_folder, "cpu")
    network.trained.config["data"]["root"] = None
    examples = find_examples(network)
    assert sorted(examples) == [f"drawn species {k}" for k in range(3)]
    assert all(file.is_file() for file in examples.values())
    network.trained.record["protocol"]["splits"]["train"] = "another"
    assert find_examples(network) == {}
    assert list(tmp_path.iterdir()) == []


def test_of_several_images_all_are_named_and_the_chosen_one_is_shown(network, photos, tmp_path):
    folder = photos({"rose": 2})
    (tmp_path / "bad.jpg").write_text("no image")
    files = [str(tmp_path / "bad.jpg"), *(str(folder / "rose" / f"{k}.jpg") for k in range(2))]
    first, second = (ask(network, files, place=place) for place in range(2))
    assert len(first["every"]) == 2
    assert "bad.jpg can't be read" in first["message"]
    assert (first["crop"] == first["every"][0][0]).all()
    assert (second["crop"] == second["every"][1][0]).all()
    assert (first["crop"] != second["crop"]).any()
    assert second["every"][1][1] in second["verdict"]


def test_what_reaches_no_threshold_is_not_sure(network, photos):
    file = str(photos({"rose": 1}) / "rose" / "0.jpg")
    assert ask(network, file, threshold=0.999)["verdict"].startswith("**Not sure**")
    assert ask(network, file, threshold=0.001)["verdict"].startswith("**Not sure**: ")


def test_the_scale_of_a_heat_map_names_its_ends():
    scale = heat_scale(2.75)
    assert scale.startswith("0 <span")
    assert " 2.8<br>evidence for the class, in multiples of the mean" in scale
    assert scale.count("#") == 9


def test_an_image_that_takes_long_to_read_does_not_stop_other_visitors(network, photos, monkeypatch):
    folder, reading, goes_on = photos({"rose": 2}), Event(), Event()
    prepare = network.prepare

    def slow(file):
        if str(file).endswith("0.jpg"):
            reading.set()
            assert goes_on.wait(60)
        return prepare(file)

    monkeypatch.setattr(network, "prepare", slow)
    answer, answers = answerer(network, {}, False, PAIRS), []
    visitor = Thread(target=lambda: answers.append(answer(str(folder / "rose" / "0.jpg"))))
    visitor.start()
    assert reading.wait(60)
    assert answer(str(folder / "rose" / "1.jpg"))[3][0]
    assert not answers
    goes_on.set()
    visitor.join(60)
    assert answers[0][3][0]


def test_the_page_answers_several_visitors_at_once(network):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'flowers_tl[serve]'")
    answers = make_page(network, {}, explain=False).fns.values()
    assert len(answers) == 3
    for answer in answers:
        assert answer.concurrency_limit == VISITORS > 1
        assert answer.api_visibility == "private"


def test_an_address_at_which_nothing_can_listen_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} can't be used .* another port=N"):
            validate_address("127.0.0.1", port)
    validate_address("127.0.0.1", port)
    for port in (0, 65536):
        with pytest.raises(UserError, match=rf"port={port} must lie between"):
            validate_address("127.0.0.1", port)

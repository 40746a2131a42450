"""The page in a real browser: an upload is answered, a bad file gets a sentence, nothing is asked from the network."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from PIL import Image

import flowers_tl
from flowers_tl.results.predictions import Predictions

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="needs gradio: pip install '.[serve]' in a checkout of the project")
pytest.importorskip("captum", reason="needs captum: pip install '.[explain]' in a checkout of the project")


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@contextmanager
def served(ckpt: Path, log: Path) -> Iterator[str]:
    """Where the command serves the page, in a process of its own that takes files up to a megabyte."""
    port = free_port()
    command = [sys.executable, "-m", "flowers_tl.serve", f"ckpt={ckpt}", f"port={port}", "max_mb=1"]
    with open(log, "w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
    for _ in range(240):
        try:
            urlopen(f"http://127.0.0.1:{port}", timeout=5)
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture(scope="module")
def address(run_folder, tmp_path_factory):
    with served(run_folder, tmp_path_factory.mktemp("serve") / "log") as own:
        yield own


@pytest.fixture
def browse(chromium):
    """A function that opens an address in the browser."""
    return lambda address: opened(chromium, address)


@pytest.fixture
def page(browse, address):
    return browse(address)


def opened(chromium, address: str):
    from selenium.webdriver.common.by import By

    chromium.get_log("performance")
    chromium.get(address)

    def text(part: str) -> str:
        found = chromium.find_elements(By.ID, part)
        return found[0].text if found else ""

    def wait(true, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, chromium.find_element(By.TAG_NAME, "body").text
            time.sleep(0.2)

    def upload(file: Path) -> None:
        wait(lambda: chromium.find_elements(By.CSS_SELECTOR, "#upload input[type=file]"))
        chromium.find_element(By.CSS_SELECTOR, "#upload input[type=file]").send_keys(str(file))

    chromium.text, chromium.wait, chromium.upload = text, wait, upload
    return chromium


@pytest.fixture(scope="module")
def flower(tested):
    split, files = tested
    return files[0], split.logits[0]


def images(page, part: str) -> list[int]:
    """Widths, in their own pixels, of the images that a part shows."""
    script = f"return [...document.querySelectorAll('#{part} img')].map(i => i.naturalWidth)"
    return [width for width in page.execute_script(script) if width]


def test_an_upload_is_answered_with_classes_images_and_heat(page, flower):
    file, logits = flower
    page.upload(file)
    page.wait(lambda: "%" in page.text("answers"))
    best = f"drawn species {logits.argmax()}"
    assert page.text("answers").index(best) == min(page.text("answers").index(f"drawn species {k}") for k in range(3))
    for part, count in (("crop", 1), ("heat", 1), ("gallery", 3)):
        page.wait(lambda part=part, count=count: len(images(page, part)) >= count, 20)


def test_a_click_on_a_training_image_is_answered_and_no_gallery_has_a_blank_strip(page):
    page.wait(lambda: images(page, "tries"))
    page.execute_script("document.querySelector('#tries img').closest('button').click()")
    page.wait(lambda: "%" in page.text("answers") and len(images(page, "gallery")) >= 3)
    script = "const g = document.getElementById(arguments[0]); return g.offsetHeight - g.querySelector('.grid-container').offsetHeight"
    assert max(page.execute_script(script, part) for part in ("tries", "gallery")) < 60
    # The image that was clicked does not lie over the others.
    assert len(images(page, "tries")) == 3


@pytest.mark.real_data
def test_a_real_flower_is_answered(browse, flowers_run, tmp_path):
    root, network = Path(os.environ["FLOWERS102_ROOT"]), flowers_tl.load(flowers_run, "cpu")
    split = Predictions.read(flowers_run).splits["test"]
    sure = split.logits.max(1).argmax()
    (answer,) = network.predict(root / split.images[sure])
    with served(flowers_run, tmp_path / "log") as address:
        page = browse(address)
        page.upload(root / split.images[sure])
        page.wait(lambda: "%" in page.text("answers"))
        places = [page.text("answers").index(name) for name in answer.classes]
        assert places[0] == min(places)
        for part, count in (("crop", 1), ("heat", 1), ("gallery", 5)):
            page.wait(lambda part=part, count=count: len(images(page, part)) >= count, 20)


def test_a_bad_file_gets_a_sentence(page, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    page.upload(tmp_path / "bad.jpg")
    page.wait(lambda: "bad.jpg can't be read as an image" in page.text("message"))
    style = "return getComputedStyle(document.getElementById('message')).backgroundColor"
    assert page.execute_script(style) == "rgb(253, 236, 234)"
    assert "%" not in page.text("answers")
    assert "/" not in page.text("message")


def test_a_file_that_is_too_large_is_refused(page, tmp_path):
    Image.frombytes("RGB", (1000, 1000), os.urandom(3_000_000)).save(tmp_path / "large.png")
    page.upload(tmp_path / "large.png")
    time.sleep(3)
    assert "%" not in page.text("answers")


def test_nothing_is_asked_from_the_network(page, address, flower):
    page.upload(flower[0])
    page.wait(lambda: "%" in page.text("answers"))
    asked = []
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_a_program_is_answered_as_the_docs_say(address, flower):
    file, logits = flower
    request = Request(f"{address}/predict", file.read_bytes(), {"Content-Type": "application/x-www-form-urlencoded"})
    answer = json.loads(urlopen(request, timeout=60).read())
    assert answer["classes"][0]["class"] == f"drawn species {logits.argmax()}"


def test_only_this_machine_can_open_it(address):
    port = int(address.rsplit(":", 1)[1])
    listening = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_a_port_that_is_taken_is_told(run_folder, address, run_command):
    done = run_command("serve", f"ckpt={run_folder}", f"port={address.rsplit(':', 1)[1]}")
    assert done.returncode == 1
    assert "use another port=N" in done.stderr


@pytest.mark.parametrize("word", ["port=70000", "max_mb=0"])
def test_numbers_that_can_not_be_are_told(word, run_folder, run_command):
    done = run_command("serve", f"ckpt={run_folder}", word)
    assert done.returncode == 1
    assert word in done.stderr
    assert done.stderr.count("\n") == 1

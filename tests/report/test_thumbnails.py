"""Images are small and inside the page; what can't be read leaves its name."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from report_pages import section, words
from written_runs import logits_of

from flowers_tl.report.compare_runs import compare_runs


def draw(root, names):
    for k, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 200), (20 * k, 90, 120)).save(root / name)


def test_images_are_small_and_in_the_page(run, report, tmp_path):
    wrong = np.zeros(10, int)
    draw(tmp_path / "root", [f"jpg/image_{k}.jpg" for k in range(10)])
    run("a", logits=logits_of(wrong), root=tmp_path / "root")
    page, _, _ = report()
    images = re.findall(r"<img (.*?)/>", page)
    assert len(images) == 4 + 6  # both of two pairs, and six mistakes
    for image in images:
        assert 'width="128" height="64"' in image
        assert re.search(r'alt=".*?(daisy|rose|tulip)', image)
        file = io.BytesIO(base64.b64decode(re.search('src="data:image/jpeg;base64,(.*?)"', image)[1]))
        assert Image.open(file).size == (128, 64)
    assert "not shown" not in page


def test_damaged_images_and_those_elsewhere_leave_a_name(run, report, tmp_path):
    wrong = np.zeros(10, int)
    names = [f"jpg/image_{k}.png" for k in range(10)]
    names[8], names[9] = "../outside.png", str(tmp_path / "root" / "jpg" / "image_9.png")
    draw(tmp_path / "root", [*names[:8], "jpg/image_9.png"])
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (tmp_path / "root" / "jpg" / "image_4.png").write_bytes(b"no image")
    run("a", logits=logits_of(wrong), root=tmp_path / "root", images=names)
    page, _, _ = report()
    missed = words(section(page, "mistakes"))
    for name in ("image_4.png", "outside.png", "image_9.png"):  # nothing outside the root is read
        assert name in missed
    assert "3 of 7 images are not shown: their files are missing or can't be read." in missed


@pytest.mark.parametrize("change", ["moved", "a missing image", "another image", "another name", "no fingerprint"])
def test_only_the_very_images_of_the_test_are_shown(run, report, tmp_path, change):
    """A stranger's record may name any folder and any image of this machine, but does not know its content."""
    root, names = tmp_path / "root", [f"jpg/image_{k}.png" for k in range(10)]
    draw(root, names)
    folder = run("a", logits=logits_of(np.zeros(10, int)), root=root, images=names)
    record = json.loads((folder / "result.json").read_text())
    if change == "moved":
        root.rename(tmp_path / "elsewhere")
    elif change == "a missing image":
        (root / names[0]).unlink()
    elif change == "another image":
        draw(root, names[1:2] + names[:1])
    elif change == "another name":
        record["data"]["root"] = str(root / "jpg")
    else:
        del record["protocol"]
    (folder / "result.json").write_text(json.dumps(record))
    page, _, _ = report()
    assert "<img" not in page
    assert "The images are not shown: the very images that the runs were tested on are not in their folder" in words(
        page
    )


def test_a_root_that_the_user_names_is_taken(run, tmp_path):
    names = [f"jpg/image_{k}.png" for k in range(10)]
    draw(tmp_path / "root", names)
    folder = run("a", logits=logits_of(np.zeros(10, int)), root=tmp_path / "root", images=names)
    (tmp_path / "root").rename(tmp_path / "moved")
    compare_runs([folder], report=tmp_path / "page", root=tmp_path / "moved")
    assert "<img" in (tmp_path / "page" / "report.html").read_text()

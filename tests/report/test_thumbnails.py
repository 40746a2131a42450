"""Images are small and inside the page; what can't be read leaves its name."""

import base64
import io
import re

import numpy as np
from PIL import Image
from report_pages import section, words
from written_runs import logits_of


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


def test_missing_and_damaged_images_leave_a_name(run, report, tmp_path):
    wrong = np.zeros(10, int)
    names = [f"jpg/image_{k}.png" for k in range(10)]
    names[8], names[9] = "../outside.png", str(tmp_path / "root" / "jpg" / "image_9.png")
    draw(tmp_path / "root", [*names[:8], "jpg/image_9.png"])
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (tmp_path / "root" / "jpg" / "image_4.png").write_bytes(b"no image")
    (tmp_path / "root" / "jpg" / "image_5.png").unlink()
    folder = run("a", logits=logits_of(wrong), root=tmp_path / "root", images=names)
    page, _, _ = report()
    missed = words(section(page, "mistakes"))
    for name in ("image_4.png", "image_5.png", "outside.png", "image_9.png"):  # nothing outside the root is read
        assert name in missed
    assert "4 of 7 images are not shown: their files are missing or can't be read." in missed
    folder.rename(folder.with_name("b"))
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    page, _, _ = report()
    assert "<img" not in page
    assert "The images are not shown: their folder is no longer where it was when the runs were made." in words(page)

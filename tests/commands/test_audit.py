"""An audit finds each kind of planted fault, writes what it has found, and changes nothing of the data."""

import csv
import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from flowers_tl.audit import main
from flowers_tl.data.synthetic import Species, draw_flower

# What a network with random weights says.
GUESSES = ("suspect", "inseparable", "outlier")
# Images that the browser could not show, and by how many pixels the page is too wide.
BROKEN = """const page = document.documentElement;
    const broken = [...document.images].filter(image => !image.complete || !image.naturalWidth).length;
    return [broken, page.scrollWidth - page.clientWidth]"""


def flower(species, number, size=120):
    return draw_flower(Species.from_number(species), size, np.random.default_rng([species, number]))


def shot(second):
    """EXIF as a camera writes it."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Maker", "Camera"
    exif.get_ifd(Base.ExifOffset)[Base.DateTimeOriginal] = f"2026:01:31 12:00:{second:02d}"
    return exif


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of drawn flowers, and one fault of each kind."""
    root = tmp_path_factory.mktemp("audited") / "photos"
    for split, first, count in (("train", 0, 8), ("val", 20, 3), ("test", 40, 4)):
        for species, name in enumerate(("<b>aster", "lily", "rose")):
            (root / split / name).mkdir(parents=True)
            for k in range(first, first + count):
                flower(species, k).save(root / split / name / f"{k}.jpg", quality=95)
    train, test = root / "train", root / "test"
    # Two photographs of one plant, one right after the other, and a later one.
    for split, name, second in ((train, "3", 1), (test, "41", 3), (train, "4", 9)):
        flower(0, int(name)).save(split / "<b>aster" / f"{name}.jpg", quality=95, exif=shot(second))
    Image.open(train / "lily" / "0.jpg").rotate(180).save(test / "lily" / "exact.png")
    Image.open(train / "rose" / "1.jpg").crop((6, 6, 120, 120)).save(test / "rose" / "near.jpg", quality=70)
    Image.open(train / "rose" / "2.jpg").save(train / "lily" / "doubled.jpg", quality=80)
    (train / "rose" / "unreadable.jpg").write_bytes(b"\xff\xd8\xff no more")
    Image.new("RGB", (120, 120), "white").save(train / "rose" / "blank.png")
    flower(2, 90).resize((24, 24)).save(train / "rose" / "tiny.png")
    flower(2, 91).resize((600, 600)).save(train / "rose" / "huge.jpg")
    flower(2, 92).convert("L").save(train / "rose" / "grey.png")
    return root


def contents(root):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in root.rglob("*") if file.is_file()}


def keys(photos, resnet18_weights):
    return ["data=folder", f"data.root='{photos}'", "data.image_size=64", f"backbone.weights='{resnet18_weights}'"]


@pytest.fixture(scope="module")
def audited(photos, resnet18_weights, tmp_path_factory):
    """The folder of an audit, and what the files of the data were before it."""
    out, before = tmp_path_factory.mktemp("audits") / "audit", contents(photos)
    main([f"out={out}", *keys(photos, resnet18_weights)])
    return out, before


def test_each_planted_fault_is_found_and_no_other_copy(audited):
    with open(audited[0] / "audit.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["kind", "image", "other", "split", "other_split", "label", "other_label", "score"]
    pairs = {
        (row["kind"], row["image"], row["other"], row["split"], row["other_split"]) for row in rows if row["other"]
    }
    assert pairs == {
        ("exact", "train/lily/0.jpg", "test/lily/exact.png", "train", "test"),
        ("near", "train/rose/1.jpg", "test/rose/near.jpg", "train", "test"),
        ("near", "train/lily/doubled.jpg", "train/rose/2.jpg", "train", "train"),
        ("burst", "train/<b>aster/3.jpg", "test/<b>aster/41.jpg", "train", "test"),
    }
    (doubled,) = (row for row in rows if row["image"].endswith("doubled.jpg") and row["other"])
    assert (doubled["label"], doubled["other_label"]) == ("lily", "rose")
    alone = {(row["kind"], row["image"]) for row in rows if row["kind"] not in GUESSES and not row["other"]}
    assert alone == {(kind, f"train/rose/{kind}.{'jpg' if kind in ('unreadable', 'huge') else 'png'}")
                     for kind in ("unreadable", "blank", "tiny", "huge", "grey")}  # fmt: skip


def test_no_image_of_the_user_is_changed(audited, photos):
    assert contents(photos) == audited[1]


def test_the_record_counts_classes_by_split(audited):
    record = json.loads((audited[0] / "audit.json").read_text())
    # One rose of train can't be read.
    assert record["classes"][2] == {"class": "rose", "train": 12, "val": 3, "test": 5}
    assert record["data"]["train"] == 29
    assert len(record["findings"]) >= 8


def test_the_page_needs_no_other_file_and_escapes_names(audited):
    page = (audited[0] / "audit.html").read_text()
    assert "&lt;b&gt;aster" in page
    assert "<b>aster" not in page
    assert page.count('src="data:image/jpeg;base64,') >= 9
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "Across splits." in page
    assert "Two labels." in page


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_all_images_and_asks_the_network_for_nothing(audited, chromium, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for log in ("browser", "performance"):
        # What earlier tests left.
        chromium.get_log(log)
    chromium.get((audited[0] / "audit.html").as_uri())
    assert chromium.execute_script(BROKEN) == [0, 0]
    pair = chromium.find_elements("css selector", "section[aria-labelledby=exact] .sides img")
    left, right = (image.rect for image in pair)
    assert (left["y"], left["x"] < right["x"]) == (right["y"], True)
    assert chromium.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["backbone.weights=no_such.pth"], "no_such.pth"),
        (["backbone.weights=null"], "set backbone.weights"),
        (["data.protocol=trainval"], "data.protocol=trainval hides images from an audit: leave it out."),
        (["data.exclude=audit.csv"], "data.exclude=audit.csv hides images from an audit: leave it out."),
        (["cache.enabled=false"], "leave out cache.enabled=false"),
        (["strategy=fine_tuning"], "There is no option 'strategy'"),
    ],
)
def test_bad_input_ends_in_one_sentence(photos, resnet18_weights, capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    given = [
        word for word in keys(photos, resnet18_weights) if word.split("=")[0] not in {w.split("=")[0] for w in words}
    ]
    with pytest.raises(SystemExit) as stop:
        main([*given, *words])
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "outputs").exists()


def test_a_folder_with_files_is_not_written_into(photos, resnet18_weights, capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        main([f"out={tmp_path}", *keys(photos, resnet18_weights)])
    assert "not empty" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "mine.txt"]

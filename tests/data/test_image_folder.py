"""One's own images in folders: what is read as what, what is told, and what is refused in a sentence."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.splits import SPLITS
from flowers_tl.utils.errors import UserError
from tests.data.opened_folders import COUNTS, open_folder


def names(data: FolderDataModule, split: str) -> set[str]:
    return {file.relative_to(data.root).as_posix() for file in data.images[split].files}


def test_folders_name_the_classes_and_splits_are_cut_by_class(photos):
    data = open_folder(photos(COUNTS))
    assert data.class_names == ["aster", "poppy, red [1]=x", "rose"]
    assert data.num_classes == data.count_classes() == 3
    assert data.sizes == {"train": 16, "val": 4, "test": 4}
    for split in SPLITS:
        own = data.images[split]
        assert [data.class_names[label] for label in own.labels] == [file.parent.name for file in own.files]
        assert set(own.labels) == {0, 1, 2}
    assert len(set.union(*(names(data, split) for split in SPLITS))) == 24


@pytest.mark.parametrize("has", [SPLITS, ("train", "test"), ("train", "val"), ("train",)])
def test_split_folders_are_taken_and_what_lacks_is_cut_out_of_train(photos, has):
    for split in has:
        root = photos(COUNTS, f"photos/{split}").parent
    data = open_folder(root)
    for split in set(has) - {"train"}:
        assert names(data, split) == {f"{split}/{name}/{k}.jpg" for name, count in COUNTS.items() for k in range(count)}
    assert all(
        name.startswith("train/") for split in {"train", *SPLITS} - {*has} | {"train"} for name in names(data, split)
    )
    assert sum(data.sizes.values()) == 24 * len(has)


def test_a_class_may_be_called_as_a_split(photos):
    data = open_folder(photos({"train": 5, "bus": 5, "test": 5}))
    assert data.class_names == ["bus", "test", "train"]


def test_hidden_files_and_what_is_no_image_are_left_out_and_these_are_told(photos, capsys):
    root = photos(COUNTS)
    for name in (".DS_Store", "rose/.1.jpg", "rose/._2.jpg", ".cache/aster/1.jpg", "rose/.thumbs/1.jpg"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(b"hidden")
    plain = open_folder(root)
    assert capsys.readouterr().err == ""
    for name in ("notes.txt", "above.jpg", "rose/a.psd", "rose/raw/a.cr2"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"other")
    assert open_folder(root).images == plain.images
    told = capsys.readouterr().err
    assert told.startswith(f"Note: Unused files in {root}, since they are no images")
    assert told.strip().endswith("or in no class folder: above.jpg, notes.txt, rose/a.psd.")
    open_folder(root)
    assert capsys.readouterr().err == "", "once is enough"


def test_links_are_followed(photos, tmp_path):
    root = photos(COUNTS)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "rose").symlink_to(root / "rose")
    (tmp_path / "linked" / "aster").mkdir()
    for file in (root / "aster").iterdir():
        (tmp_path / "linked" / "aster" / file.name).symlink_to(file)
    assert sum(open_folder(tmp_path / "linked").sizes.values()) == 18


BROKEN = {
    "nowhere": "data.root={root} is no folder: use a folder with images as CLASS/IMAGE.jpg, or as train/CLASS/IMAGE.jpg",
    "a file": "data.root={root} is no folder",
    "empty": "{root} holds no class folders: it should hold one folder of images for each class.",
    "only images": "{root} holds no class folders",
    "one class": "{root} has a single class, 'rose': add images of at least one more.",
    "an empty class": "The class folder {root}/lily holds no images (.jpg, .jpeg",
    "nested": "{root}/rose/deep/er/0.jpg is in a subfolder of the class folder {root}/rose: the folder data.root should have images as",
    "few": "The class 'lily' has only 2 images, too few for train, val, test: add images, or remove the class",
    "no train": "{root} has val and test, but no train: put the training images into {root}/train; to evaluate",
    "no classes in train": "{root}/train holds no class folders",
    "other classes": "The class folders of {root}/test and {root}/train differ (lily, rose only in one of them): all",
    "a split of another name": "{root}/valid should be called val: splits are train, val, test",
    "a class beside splits": "{root}/train/aster/0.jpg is in a subfolder of the class folder {root}/train: the folder data.root should have",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_laid_out_otherwise_is_refused(photos, tmp_path, fault):
    root = tmp_path / "photos"
    splits = {
        "no train": ("val", "test"),
        "other classes": ("train", "test"),
        "a split of another name": ("train", "valid"),
        "a class beside splits": ("train", "zebra"),
    }
    for split in splits.get(fault, ()):
        photos({"rose": 4, "aster": 4}, f"photos/{split}")
    if fault in ("only images", "one class", "an empty class", "nested", "few", "no classes in train"):
        photos({"rose": 5, "aster": 5} | ({"lily": 2} if fault == "few" else {}))
    if fault == "empty":
        root.mkdir()
    if fault == "a file":
        root.touch()
    if fault == "only images":
        for file in (root / "rose").iterdir():
            file.rename(root / file.name)
        shutil.rmtree(root / "rose")
    if fault in ("only images", "one class"):
        shutil.rmtree(root / "aster")
    if fault == "an empty class":
        (root / "lily").mkdir()
        (root / "lily" / "notes.txt").touch()
    if fault == "nested":
        (root / "rose" / "deep" / "er").mkdir(parents=True)
        (root / "rose" / "0.jpg").rename(root / "rose" / "deep" / "er" / "0.jpg")
    if fault == "no classes in train":
        (root / "aster").rename(root / "train")
        (root / "rose").rename(root / "test")
    if fault == "other classes":
        (root / "test" / "rose").rename(root / "test" / "lily")
    with pytest.raises(UserError) as caught:
        open_folder(root)
    assert str(caught.value).startswith(BROKEN[fault].format(root=root))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_without_a_folder_it_says_so():
    with pytest.raises(UserError, match=r"data=folder needs data.root=DIR, a folder with images as CLASS/IMAGE.jpg"):
        FolderDataModule()


def test_splits_and_images_follow_the_folder_wherever_it_lies(photos, tmp_path):
    data = open_folder(photos(COUNTS))
    shutil.copytree(data.root, tmp_path / "elsewhere")
    moved = open_folder(tmp_path / "elsewhere")
    assert all(names(data, split) == names(moved, split) for split in SPLITS)
    assert data.split_fingerprints() == moved.split_fingerprints()
    other = open_folder(data.root, split_seed=1)
    assert other.sizes == data.sizes
    assert all(other.split_fingerprints()[split] != data.split_fingerprints()[split] for split in SPLITS)


@pytest.mark.parametrize("kept", [True, False])
def test_a_image_that_is_in_two_splits_is_told(photos, tmp_path, capsys, kept):
    for split in SPLITS:
        root = photos({"rose": 3, "aster": 3}, f"photos/{split}").parent
    for number, file in enumerate(sorted(root.rglob("*.jpg"))):  # drawn alike in all three
        file.write_bytes(file.read_bytes() + bytes([number]))
    data = open_folder(root, cache=Cache(tmp_path / "cache") if kept else None)
    plain = data.split_fingerprints()
    assert open_folder(root, protocol="trainval").split_fingerprints()["test"] == plain["test"]
    assert capsys.readouterr().err == ""
    shutil.copy(root / "train" / "rose" / "1.jpg", root / "test" / "rose" / "copy.jpg")
    shutil.copy(root / "train" / "rose" / "2.jpg", root / "train" / "rose" / "beside.jpg")  # no harm
    open_folder(root, cache=data.cache).split_fingerprints()
    told = "Note: The same images are in two splits, which makes the scores too good; keep one of each, or use data.exclude:"
    assert capsys.readouterr().err.strip() == f"{told} test/rose/copy.jpg = train/rose/1.jpg."


def test_all_copies_are_told_in_splits_and_in_classes(photos, capsys):
    for split in SPLITS:
        root = photos({"rose": 3, "aster": 3}, f"photos/{split}").parent
    for number, file in enumerate(sorted(root.rglob("*.jpg"))):
        file.write_bytes(file.read_bytes() + bytes([number]))
    for place in ("val/rose/a.jpg", "test/rose/b.jpg", "test/rose/c.jpg"):
        shutil.copy(root / "train" / "rose" / "1.jpg", root / place)
    for number in range(5):
        shutil.copy(root / "train" / "rose" / "2.jpg", root / "train" / "aster" / f"also_{number}.jpg")
    open_folder(root, protocol="trainval").split_fingerprints()
    splits, classes = capsys.readouterr().err.strip().splitlines()
    assert splits.endswith(
        "keep one of each, or use data.exclude: test/rose/c.jpg = test/rose/b.jpg = val/rose/a.jpg = train/rose/1.jpg."
    )
    assert (
        "in two classes, and one of these is wrong; keep the right one, or use data.exclude: train/rose/2.jpg = "
        in classes
    )
    assert all(f"train/aster/also_{number}.jpg" in classes for number in range(5))


@pytest.mark.parametrize("pair", [("Rose", "rose"), ("rosé", "rose\u0301")])
def test_classes_that_look_alike_get_a_word(photos, capsys, pair):
    root = photos(dict.fromkeys((*pair, "aster"), 4))
    assert len(open_folder(root).class_names) == 3
    note = capsys.readouterr().err
    assert f"look alike, but count as different: {', '.join(map(ascii, sorted(pair)))}." in note
    assert "aster" not in note


def test_the_runs_own_folder_is_no_class_and_a_class_of_that_name_is_one(photos):
    root = photos({"aster": 4, "rose": 4})
    (root / "outputs" / "2026-01-31" / "run").mkdir(parents=True)
    (root / "outputs" / "2026-01-31" / "run" / "comparison.png").touch()
    assert open_folder(root).class_names == ["aster", "rose"]
    shutil.copy(root / "rose" / "1.jpg", root / "outputs" / "1.jpg")
    with pytest.raises(UserError, match="is in a subfolder of"):
        open_folder(root)


def test_the_home_folder_is_understood(photos, monkeypatch):
    root = photos(COUNTS)
    monkeypatch.setenv("HOME", str(root.parent))
    assert open_folder(Path("~/photos")).root == root


def test_few_images_of_a_class_and_trainval_work_as_with_flowers(photos):
    root = photos(COUNTS)
    few = open_folder(root, per_class=2)
    assert np.bincount(few.images["train"].labels).tolist() == [2, 2, 2]
    assert few.split_fingerprints() == open_folder(root).split_fingerprints()
    both = open_folder(root, protocol="trainval")
    assert names(both, "train") == names(few, "val") | names(open_folder(root), "train")


def test_jpegs_of_other_names_are_trained_on_and_change_nothing_where_there_are_none(photos, capsys):
    root = photos(COUNTS)
    before = open_folder(root).split_fingerprints()
    (root / "rose" / "0.jpg").rename(root / "rose" / "0.JFIF")
    (root / "aster" / "0.jpg").rename(root / "aster" / "0.jpe")
    found = open_folder(root)
    assert sum(found.sizes.values()) == sum(COUNTS.values())
    assert {"rose/0.JFIF", "aster/0.jpe"} <= names(found, "train") | names(found, "val") | names(found, "test")
    assert not capsys.readouterr().err
    for name, old in (("0.JFIF", "rose"), ("0.jpe", "aster")):
        (root / old / name).rename(root / old / "0.jpg")
    assert open_folder(root).split_fingerprints() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_names_that_are_no_utf8_are_classes_and_files(photos):
    root = os.fsencode(photos(COUNTS))
    os.rename(root + b"/aster", root + b"/caf\xe9")
    os.rename(root + b"/caf\xe9/0.jpg", root + b"/caf\xe9/caf\xe9.jpg")
    data = open_folder(Path(os.fsdecode(root)))
    assert data.class_names == ["caf\\xe9", "poppy, red [1]=x", "rose"]
    assert set(data.split_fingerprints()) == set(SPLITS)
    assert sum(data.sizes.values()) == sum(COUNTS.values())

"""torchvision's other sets, drawn in the layout that its classes read: only the download is left out."""

import json
from pathlib import Path

import pytest
import torch

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data.registry import DATA, make_data
from flowers_tl.data.splits import SPLITS
from flowers_tl.data.torchvision_sets import READERS, TABLE, TorchvisionDataModule
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError


def pets(root: Path, photos) -> None:
    """images/Breed_1.jpg, and lists of `name class species breed` for trainval and test."""
    folder = photos({"Yorkshire_terrier": 20, "Bengal": 20}, "drawn")
    (root / "oxford-iiit-pet" / "images").mkdir(parents=True)
    (root / "oxford-iiit-pet" / "annotations").mkdir()
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for number, breed in enumerate(("Bengal", "Yorkshire_terrier"), start=1):
        for k in range(20):
            (folder / breed / f"{k}.jpg").rename(root / "oxford-iiit-pet" / "images" / f"{breed}_{k}.jpg")
            lines["trainval" if k < 10 else "test"].append(f"{breed}_{k} {number} {number} 1\n")
    for name, own in lines.items():
        (root / "oxford-iiit-pet" / "annotations" / f"{name}.txt").write_text("".join(own))


def food101(root: Path, photos) -> None:
    """images/dish/1.jpg, and train.json and test.json with the names of each dish."""
    photos({"apple_pie": 20, "waffles": 20}, "data/food-101/images")
    (root / "food-101" / "meta").mkdir()
    for name, numbers in (("train", range(12)), ("test", range(12, 20))):
        found = {dish: [f"{dish}/{k}" for k in numbers] for dish in ("apple_pie", "waffles")}
        (root / "food-101" / "meta" / f"{name}.json").write_text(json.dumps(found))


def eurosat(root: Path, photos) -> None:
    """2750/Kind/Kind_1.jpg, and no splits."""
    photos({"Forest": 20, "River": 20}, "data/eurosat/2750")


def dtd(root: Path, photos) -> None:
    """images/texture/1.jpg, and lists train1.txt to test10.txt."""
    photos({"banded": 12, "zigzagged": 12}, "data/dtd/dtd/images")
    (root / "dtd" / "dtd" / "labels").mkdir()
    for partition in range(1, 11):
        for number, name in enumerate(SPLITS):
            own = [
                f"{t}/{k}.jpg\n" for t in ("banded", "zigzagged") for k in range(12) if (k + partition) % 3 == number
            ]
            (root / "dtd" / "dtd" / "labels" / f"{name}{partition}.txt").write_text("".join(own))


SETS = {
    "pets": (pets, {"train": 16, "val": 4, "test": 20}, ["Bengal", "Yorkshire Terrier"], {"val_fraction": 0.2}),
    "food101": (food101, {"train": 18, "val": 6, "test": 16}, ["apple_pie", "waffles"], {"val_fraction": 0.25}),
    "eurosat": (
        eurosat,
        {"train": 28, "val": 4, "test": 8},
        ["Forest", "River"],
        {"val_fraction": 0.1, "test_fraction": 0.2},
    ),
    "dtd": (dtd, {"train": 8, "val": 8, "test": 8}, ["banded", "zigzagged"], {"partition": 1}),
}


@pytest.fixture(params=SETS)
def composed(request, config, photos, tmp_path):
    """Name and config of one of the sets, drawn below the test's folder, under a small run."""
    draw, _, _, own = SETS[request.param]
    draw(tmp_path / "data", photos)
    keys = {f"data.{key}": value for key, value in own.items()}
    keys |= {"data": request.param, "data.root": tmp_path / "data", "data.image_size": 32, "backbone.weights": "null"}
    keys |= {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", "trainer.enable_progress_bar": "false"}
    return request.param, config([f"{key}={value}" for key, value in keys.items()])


def test_files_labels_and_splits_are_the_sets_own(composed):
    name, chosen = composed
    data = make_data(chosen)
    data.prepare_data()  # all is there: nothing is downloaded
    data.setup()
    _, sizes, classes, _ = SETS[name]
    assert data.sizes == sizes
    assert data.class_names == classes
    seen = set()
    for own in data.images.values():
        assert min(own.labels.count(label) for label in (0, 1)) == len(own) // 2
        seen |= set(own.files)
        for file, label in zip(own.files, own.labels, strict=True):
            assert classes[label].replace(" ", "_").lower() in file.relative_to(data.root).as_posix().lower()
            assert file.is_file()
    assert len(seen) == sum(sizes.values())
    again = make_data(chosen)
    again.setup()
    assert again.images == data.images


def test_a_run_on_it_finishes(composed, tmp_path):
    name, chosen = composed
    result = train(chosen, tmp_path / "run")
    assert result["status"] == "finished"
    cut = {"flowers": [], "dtd": [], "eurosat": ["test", "val"]}.get(name, ["val"])
    assert result["data"] == {"name": name, "root": str(tmp_path / "data"), **SETS[name][1], "cut": cut}


def test_the_official_test_split_is_whole_and_val_comes_out_of_train(config, photos, tmp_path):
    pets(tmp_path / "data", photos)
    data = TorchvisionDataModule("pets", str(tmp_path / "data"), val_fraction=0.5)
    data.setup()
    assert {file.stem for file in data.images["test"].files} == {
        f"{b}_{k}" for b in ("Bengal", "Yorkshire_terrier") for k in range(10, 20)
    }
    assert all(int(file.stem.rpartition("_")[2]) < 10 for file in data.images["val"].files)


def test_each_partition_of_the_textures_is_another(config, photos, tmp_path):
    dtd(tmp_path / "data", photos)
    found = []
    for partition in (1, 2):
        found.append(TorchvisionDataModule("dtd", str(tmp_path / "data"), partition=partition))
        found[-1].setup()
    assert found[0].images["train"].files != found[1].images["train"].files
    assert [int(file.stem) % 3 for file in found[1].images["train"].files] == [1] * 8
    for wrong in (0, 11):
        with pytest.raises(UserError, match=rf"data.partition={wrong} must lie between 1 and 10"):
            validate_ranges(config(["data=dtd", f"data.partition={wrong}"]))


def test_a_image_that_is_gone_is_named(photos, tmp_path):
    food101(tmp_path / "data", photos)
    gone = tmp_path / "data" / "food-101" / "images" / "waffles" / "3.jpg"
    gone.unlink()
    with pytest.raises(UserError) as caught:
        TorchvisionDataModule("food101", str(tmp_path / "data")).setup()
    folder = tmp_path / "data" / "food-101"
    assert str(caught.value).startswith(f"{gone} is missing")
    assert str(caught.value).endswith(f"restore it, or remove {folder} to get all of it again.")


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("flowers", "flowers-102", ["imagelabels.mat", "setid.mat", "FLOWERS102_ROOT", "data=synthetic"]),
        ("pets", "oxford-iiit-pet", ["the unpacked images.tar.gz and annotations.tar.gz"]),
        ("food101", "food-101", ["food-101.tar.gz"]),
        ("eurosat", "eurosat", ["EuroSAT.zip"]),
        ("dtd", "dtd", ["dtd-r1.0.1.tar.gz"]),
    ],
)
def test_without_images_and_network_it_says_what_to_do(tmp_path, monkeypatch, name, folder, words):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    data = TorchvisionDataModule(name, str(tmp_path))
    monkeypatch.setattr(f"{data.reader.__module__}.download_and_extract_archive", refuse)
    with pytest.raises(UserError) as caught:
        data.prepare_data()
    for part in (
        f"not in {tmp_path / folder} and",
        "no network",
        f"set data.root to the folder that holds {folder}",
        *words,
    ):
        assert part in str(caught.value)


def test_what_is_missing_is_downloaded_once(photos, tmp_path, monkeypatch):
    asked = []

    def download(url, download_root, **how):
        asked.append(Path(url).name)
        if not (tmp_path / "data" / "dtd" / "dtd").exists():
            dtd(tmp_path / "data", photos)

    monkeypatch.setattr("torchvision.datasets.dtd.download_and_extract_archive", download)
    for _ in range(2):
        data = TorchvisionDataModule("dtd", str(tmp_path / "data"))
        data.prepare_data()
        data.setup()
    assert asked == ["dtd-r1.0.1.tar.gz"]
    assert data.sizes == {"train": 8, "val": 8, "test": 8}


@pytest.mark.parametrize(
    ("name", "classes"), [("flowers", 102), ("pets", 37), ("food101", 101), ("eurosat", 10), ("dtd", 47)]
)
def test_the_number_of_classes_is_known_without_images(config, name, classes, tmp_path):
    assert make_data(config([f"data={name}", f"data.root={tmp_path}"])).count_classes() == classes


def test_every_choice_has_its_module(config):
    for name in DATA:
        root = {"folder": ["data.root=photos"], "manifest": ["data.file=labels.csv"]}.get(name, [])
        assert make_data(config([f"data={name}", *root])).name == name


def test_root_is_the_argument_else_the_environment_else_data(monkeypatch):
    monkeypatch.setenv("FLOWERS102_ROOT", "/from/environment")
    assert str(TorchvisionDataModule("flowers", root="/from/argument").root) == "/from/argument"
    assert str(TorchvisionDataModule("flowers").root) == "/from/environment"
    monkeypatch.delenv("FLOWERS102_ROOT")
    assert str(TorchvisionDataModule("flowers").root) == "data"


@pytest.mark.real_data
def test_the_real_splits():
    data = TorchvisionDataModule("flowers", num_workers=0)
    data.prepare_data()
    data.setup()
    assert data.sizes == {"train": 1020, "val": 1020, "test": 6149}
    assert data.num_classes == len(data.class_names) == 102
    assert data.class_names[76] == "passion flower"
    per_class = torch.bincount(torch.tensor(data.images["train"].labels))
    assert per_class.tolist() == [10] * 102
    paths = [set(images.files) for images in data.images.values()]
    assert len(set.union(*paths)) == sum(map(len, paths)) == 8189
    assert next(iter(data.val_dataloader()))[0].shape == (32, 3, 224, 224)


@pytest.mark.real_data
def test_fewer_classes_than_the_real_labels():
    with pytest.raises(UserError, match=r"data.num_classes=50 is fewer than the 102 classes"):
        TorchvisionDataModule("flowers", num_classes=50).setup()


def test_a_row_of_the_table_is_all_that_another_set_needs(photos, tmp_path, monkeypatch):
    for split, count in (("train", 4), ("valid", 2), ("test", 3)):
        photos({"AD": count, "AE": count}, f"data/country211/{split}")
    splits = {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}
    row = {"reader": "Country211", "splits": splits, "num_classes": 211, "folder": "country211", "unpack": "it"}
    monkeypatch.setitem(TABLE, "countries", row)
    data = TorchvisionDataModule("countries", str(tmp_path / "data"))
    assert data.count_classes() == 211
    data.prepare_data()
    data.setup()
    assert data.sizes == {"train": 8, "val": 4, "test": 6}
    assert data.class_names == ["AD", "AE"]


def test_rows_name_known_readers_and_a_record_names_none(config):
    assert {row["reader"] for row in TABLE.values()} <= set(READERS)
    record = config(["data=pets"])
    for key in ("reader", "files_attribute", "row", "splits", "folder"):
        with pytest.raises(TypeError, match=key):
            make_data(record | {"data": record["data"] | {key: "os.system"}})
    for name in ("../torchvision_sets", "os.system", "OxfordIIITPet"):
        with pytest.raises(UserError, match="There is no data"):
            make_data(record | {"data": record["data"] | {"name": name}})

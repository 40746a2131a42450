"""Drawn flowers: the same each time, different by species, and never half there."""

import threading

import numpy as np
import pytest

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data import synthetic
from flowers_tl.data.synthetic import Species, SyntheticDataModule, draw_flower
from flowers_tl.utils.errors import UserError

SMALL = {"num_classes": 2, "train_per_class": 2, "val_per_class": 1, "test_per_class": 3, "image_size": 24}


def content(data: SyntheticDataModule) -> dict[str, bytes]:
    return {str(path.relative_to(data.root)): path.read_bytes() for path in data.root.rglob("*.jpg")}


def test_the_layout_and_the_counts(tmp_path):
    data = SyntheticDataModule(root=str(tmp_path), **SMALL)
    data.prepare_data()
    data.setup()
    assert data.sizes == {"train": 4, "val": 2, "test": 6}
    assert (data.root / "flowers-102" / "jpg" / "image_00012.jpg").is_file()
    for images in data.images.values():
        assert sorted(set(images.labels)) == [0, 1]
    ids = [path.stem for images in data.images.values() for path in images.files]
    assert len(set(ids)) == 12
    assert data.class_names == ["drawn species 0", "drawn species 1"]


def test_drawing_is_repeatable(tmp_path):
    both = [SyntheticDataModule(root=str(tmp_path / name), **SMALL) for name in "ab"]
    for data in both:
        data.prepare_data()
    assert content(both[0]) == content(both[1])


def test_other_species_are_other_images(tmp_path):
    one = SyntheticDataModule(root=str(tmp_path), **SMALL)
    other = SyntheticDataModule(root=str(tmp_path), **SMALL, first_species=2)
    for data in (one, other):
        data.prepare_data()
    assert one.root != other.root
    assert not set(content(one).values()) & set(content(other).values())


def test_images_vary_within_a_species_and_less_than_between():
    def mean_colour(species, k):
        return np.asarray(draw_flower(Species.from_number(species), 32, np.random.default_rng([species, k]))).mean(
            (0, 1)
        )

    colours = np.array([[mean_colour(species, k) for k in range(12)] for species in range(12)])
    within = colours.std(axis=1).mean()
    assert within > 1
    assert len({Species.from_number(number) for number in range(300)}) == 300


def test_what_is_there_is_not_drawn_again(tmp_path):
    data = SyntheticDataModule(root=str(tmp_path), **SMALL)
    data.prepare_data()
    marker = data.root / "flowers-102" / "jpg" / "image_00001.jpg"
    marker.write_bytes(b"kept")
    data.prepare_data()
    assert marker.read_bytes() == b"kept"


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "draw_flower", die)
    with pytest.raises(KeyboardInterrupt):
        SyntheticDataModule(root=str(tmp_path), **SMALL).prepare_data()
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_draw_one_set(tmp_path):
    both = [SyntheticDataModule(root=str(tmp_path), **SMALL) for _ in range(2)]
    threads = [threading.Thread(target=data.prepare_data) for data in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == [both[0].root.name]
    both[1].setup()
    assert both[1].sizes["test"] == 6


@pytest.mark.parametrize("key", ["num_classes", "train_per_class", "val_per_class", "test_per_class"])
def test_an_empty_split_is_refused(config, key):
    with pytest.raises(UserError, match=rf"data.{key}=0 must be at least"):
        validate_ranges(config(["data=synthetic", f"data.{key}=0"]))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"can't be written to .*data.root=DIR"):
        SyntheticDataModule(root=str(tmp_path / "file"), **SMALL).prepare_data()


def test_without_a_number_of_classes_eight_species_are_drawn(tmp_path):
    data = SyntheticDataModule(root=str(tmp_path), **SMALL | {"num_classes": None})
    data.prepare_data()
    data.setup()
    assert len(data.class_names) == data.num_classes == 8

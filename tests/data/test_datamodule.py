"""What all sets have in common: an image is decoded once whatever the splits are, and large sets do without."""

import os
from collections import Counter

import pytest
import torch

from flowers_tl.data.cached import content_hash as contents
from flowers_tl.data.cached.disk_cache import Cache, entries
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.image_io import read_image
from flowers_tl.data.splits import SPLITS
from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.training.run import train
from flowers_tl.utils.notes import print_note

COUNTS = {"rose": 12, "aster": 9, "poppy": 5}


@pytest.fixture
def reads(monkeypatch):
    """The files that are decoded, as they are."""
    counted = []

    def counting(file):
        counted.append(file)
        return read_image(file)

    monkeypatch.setattr("flowers_tl.data.cached.decoded.read_image", counting)
    return counted


@pytest.fixture
def opened(photos, tmp_path):
    """A function of arguments that opens the same photographs; ``max_gb`` is the cache's."""
    root = photos(COUNTS)

    def data(max_gb: float | None = 1.0, **arguments) -> FolderDataModule:
        cache = None if max_gb is None else Cache(tmp_path / "cache", max_gb)
        made = FolderDataModule(str(root), image_size=32, batch_size=5, cache=cache, **arguments)
        made.setup()
        return made

    return data


def seen(data: FolderDataModule) -> list[tuple]:
    """All batches of two epochs of train, and of val and test; images as uint8 or as networks expect them."""
    found = []
    for epoch in (0, 1):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found + list(data.val_dataloader()) + list(data.test_dataloader())


def test_a_image_is_decoded_once_whatever_the_splits_are(opened, reads):
    for more in ({}, {"val_fraction": 0.3}, {"split_seed": 5}, {"per_class": 2}, {"protocol": "trainval"}, {"seed": 3}):
        seen(opened(**more))
    assert len(reads) == len(set(reads)) == sum(COUNTS.values())


def test_test_images_are_not_looked_at_before_the_test_unless_all_are(drawings, tmp_path, reads):
    sizes = {"num_classes": 3, "train_per_class": 4, "val_per_class": 2, "test_per_class": 3, "image_size": 32}
    for more in ({}, {"per_class": 2}, {"protocol": "trainval"}, {"seed": 3}):
        data = SyntheticDataModule(str(drawings), **sizes, cache=Cache(tmp_path / "cache"), **more)
        data.prepare_data()
        data.setup()
        for _ in (*data.train_dataloader(), *data.val_dataloader()):
            pass
    assert len(reads) == len(set(reads)) == 18
    assert not set(data.images["test"].files) & set(reads)
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 9
    assert len(reads) == len(set(reads)) == 27


@pytest.mark.parametrize("augmentation", ["crop", "random_resized_crop", "trivial_augment"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_too_large_to_be_kept_gives_the_same_batches(opened, tmp_path, capsys, augmentation, workers):
    print_note.cache_clear()
    kept = seen(opened(augmentation=augmentation, num_workers=workers))
    small = opened(max_gb=2e-5, augmentation=augmentation, num_workers=workers)
    assert not small.stored("val").store.kept
    for (images, labels), (others, same) in zip(kept, seen(small), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, same)
    assert (
        "Note: folder, train, val, test: 26 decoded images, short side 37, have no room in half of cache.max_gb"
        in capsys.readouterr().out
    )


def test_large_sets_are_bounded_and_trained_on_to_the_same_bits(photos, config, tmp_path, monkeypatch):
    root, found, first = photos(COUNTS), {}, None
    own = {
        "data": "folder",
        "data.root": root,
        "data.image_size": 32,
        "backbone.weights": "null",
        "backbone": "mobilenet_v2",
    }
    own |= {
        "trainer.max_epochs": 6,
        "cache.views": 6,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
    }
    # Room for all, for images and some of the features, for hardly anything.
    bounds = {"all": 1, "some": 2.4e-4, "nothing": 3e-6}
    for room, max_gb in bounds.items():
        monkeypatch.setattr(contents, "_known", {})  # as in a process of its own
        keys = own | {"strategy": "fine_tuning", "cache.dir": tmp_path / room, "cache.max_gb": max_gb}
        train(config([f"{key}={value}" for key, value in keys.items()]), tmp_path / f"run_{room}")
        kept = entries(tmp_path / room)
        assert sum(entry["bytes"] for entry in kept) <= max_gb * 1e9
        found[room] = Counter(entry["folder"].name.split("-")[0] for entry in kept)
        state = torch.load(tmp_path / f"run_{room}" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        first = first or state
        assert all(torch.equal(value, state[key]) for key, value in first.items())
    assert found["all"] == {"contents": 1, "pictures": 1, "features": 8}
    assert found["some"]["pictures"] == 1
    assert 0 < found["some"]["features"] < 8
    assert found["nothing"] == {"contents": 1, "readable": 1}


def test_worker_processes_are_taken_where_they_help(opened):
    several = min(8, os.cpu_count())
    assert [opened().in_order(split).num_workers for split in SPLITS] == [0, 0, 0]
    assert opened(augmentation="trivial_augment").train_dataloader().num_workers == several
    assert opened(max_gb=2e-5).train_dataloader().num_workers == several
    assert opened(max_gb=None).train_dataloader().num_workers == several
    assert opened(num_workers=1).train_dataloader().num_workers == 1


@pytest.mark.parametrize("key", ["balance", "protocol", "augmentation"])
def test_unknown_words_are_refused_with_the_nearest(opened, key):
    with pytest.raises(Exception, match=rf"data.{key}=wights is unknown"):
        opened(**{key: "wights"})

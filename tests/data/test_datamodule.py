"""What all data sets have in common: an image is decoded once whatever the splits are, every image counts once, and what is missing or broken is named."""

import os
import shutil
from collections import Counter

import pytest
import torch
from scipy.io import loadmat, savemat

from flowers_tl.config.ranges import validate_ranges
from flowers_tl.data.cached import content_hash as contents
from flowers_tl.data.cached.disk_cache import Cache, entries
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.image_io import read_image
from flowers_tl.data.splits import SPLITS
from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log_note

COUNTS = {"rose": 12, "aster": 9, "poppy": 5}


@pytest.fixture
def reads(monkeypatch):
    """The files that are decoded, as they are."""
    counted = []

    def counting(file, **options):
        counted.append(file)
        return read_image(file, **options)

    monkeypatch.setattr("flowers_tl.data.cached.decode_files.read_image", counting)
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
    log_note.cache_clear()
    kept = seen(opened(augmentation=augmentation, num_workers=workers))
    small = opened(max_gb=2e-5, augmentation=augmentation, num_workers=workers)
    assert not small.crops("val").images.kept
    for (images, labels), (others, same) in zip(kept, seen(small), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, same)
    assert (
        "Note: Decoded again each time, since half of cache.max_gb is too small: folder, train, val, test: 26 decoded images"
        in capsys.readouterr().err
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


@pytest.mark.parametrize(("cores", "several"), [(3, 3), (64, 8)])
def test_worker_processes_are_taken_where_they_help(cores, several, opened, monkeypatch):
    # A machine's scheduler gives a process fewer cores than there are.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    assert [opened().in_order(split).num_workers for split in SPLITS] == [0, 0, 0]
    assert opened(augmentation="trivial_augment").train_dataloader().num_workers == several
    assert opened(max_gb=2e-5).train_dataloader().num_workers == several
    assert opened(max_gb=None).train_dataloader().num_workers == several
    assert opened(num_workers=1).train_dataloader().num_workers == 1


@pytest.mark.parametrize("key", ["balance", "protocol", "augmentation"])
def test_unknown_words_are_refused_with_the_nearest(key):
    with pytest.raises(UserError, match=rf"data.{key}=wights is unknown"):
        validate_ranges({"data": {key: "wights"}})


class DrawnCopy(SyntheticDataModule):
    """Drawn flowers in a folder that a test may damage."""

    def prepare_data(self):
        pass


@pytest.fixture
def copy(drawings, tmp_path):
    """Make a data module over a private copy of drawn flowers: a function of its arguments."""

    def make(**arguments):
        sizes = {"num_classes": 3, "train_per_class": 4, "val_per_class": 2, "test_per_class": 3, "image_size": 32}
        original = SyntheticDataModule(root=str(drawings), **sizes)
        original.prepare_data()
        data = DrawnCopy(root=str(tmp_path), **(sizes | arguments))
        if not data.root.exists():
            shutil.copytree(original.root, data.root)
        return data

    return make


def test_splits_and_batches(copy):
    data = copy(batch_size=5)
    data.setup()
    assert data.sizes == {"train": 12, "val": 6, "test": 9}
    assert [len(labels) for _, labels in data.train_dataloader()] == [5, 5, 2]
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64


def test_every_test_image_is_read_once_whatever_the_number_of_processes(copy, monkeypatch):
    data = copy(batch_size=6)
    data.setup()
    alone = sorted(labels for batch in data.test_dataloader() for labels in batch[1].tolist())
    for world in (2, 3):
        shared = []
        for rank in range(world):
            monkeypatch.setattr(data, "_place", lambda rank=rank, world=world: (rank, world))
            shared += [label for batch in data.test_dataloader() for label in batch[1].tolist()]
        assert sorted(shared) == alone


def test_devices_share_a_batch(copy, monkeypatch):
    data = copy(batch_size=6)
    data.setup()
    monkeypatch.setattr(data, "_place", lambda: (0, 2))
    assert [len(labels) for _, labels in data.train_dataloader()] == [3, 3]


def test_training_images_vary_by_epoch_and_the_others_do_not(copy):
    data = copy()
    data.setup()
    seeded = data.train_dataloader().dataset
    crops = {tuple(seeded[epoch, 0][0].flatten().tolist()) for epoch in range(6)}
    assert len(crops) > 1
    assert torch.equal(data.val_dataloader().dataset[0][0], data.val_dataloader().dataset[0][0])
    assert data.val_dataloader().dataset.seed is None


def test_a_batch_that_devices_cannot_share_is_refused(copy):
    data = copy(batch_size=5)

    class TwoDevices:
        global_rank, world_size = 0, 2

    data.trainer = TwoDevices()
    data.setup()
    with pytest.raises(UserError, match=r"data.batch_size=5 can't be divided among 2 devices: use a multiple of 2"):
        data.val_dataloader()


def test_the_order_of_test_images_is_that_of_the_split_file(copy):
    data = copy()
    data.setup()
    ids = loadmat(data.root / "flowers-102" / "setid.mat", squeeze_me=True)["tstid"]
    assert [int(path.stem.split("_")[1]) for path in data.images["test"].files] == ids.tolist()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(copy, workers):
    data = copy(num_workers=workers)
    data.setup()
    broken = data.images["val"].files[3]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UserError) as caught:
        list(data.val_dataloader())
    assert str(caught.value).startswith(f"{broken} can't be read as an image (")
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_named(copy):
    data = copy()
    data.setup()
    gone = data.images["val"].files[3]
    gone.unlink()
    again = copy()
    with pytest.raises(
        UserError,
        match=rf"{gone.name} is missing, or can't be read: restore it, or remove .*flowers-102 to get",
    ):
        again.setup()


def test_fewer_classes_than_labels_are_refused(copy):
    data = copy()
    data.num_classes = 2
    with pytest.raises(UserError, match=r"data.num_classes=2 is fewer than the 3 classes"):
        data.setup()


def test_an_empty_split_is_refused(copy):
    data = copy()
    file = data.root / "flowers-102" / "setid.mat"
    splits = {key: value for key, value in loadmat(file, squeeze_me=True).items() if not key.startswith("_")}
    savemat(file, splits | {"valid": []})
    with pytest.raises(UserError, match=r"The val split in .* has no images"):
        data.setup()


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("data.batch_size=0", "be at least 1"),
        ("data.image_size=3", "lie between 16 and 10000"),
        ("data.num_workers=-1", "be at least 0"),
        ("seed=-1", "be at least 0"),
    ],
)
def test_senseless_sizes_are_refused(config, override, allowed):
    with pytest.raises(UserError, match=rf"{override} must {allowed}"):
        validate_ranges(config([override]))

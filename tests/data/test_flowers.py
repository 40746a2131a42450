"""The splits are the official ones, every image counts once, and what is missing or broken is named."""

import shutil

import pytest
import torch
from scipy.io import loadmat, savemat

from flowers_tl.data.flowers import FlowersDataModule
from flowers_tl.data.sampling import SeededImages
from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.utils.errors import UserError


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
    assert images.dtype == torch.float32
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
    assert not isinstance(data.val_dataloader().dataset, SeededImages)


def test_a_batch_that_devices_cannot_share_is_refused(copy):
    data = copy(batch_size=5)

    class TwoDevices:
        global_rank, world_size = 0, 2

    data.trainer = TwoDevices()
    data.setup()
    with pytest.raises(UserError, match=r"data.batch_size=5 must be a multiple of the 2 devices"):
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
        match=rf"{gone.name} is missing, or can't be read: put it back, or remove .*flowers-102 to have",
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
    with pytest.raises(UserError, match=r"The val split in .* is empty"):
        data.setup()


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"image_size": 3}, {"num_workers": -1}, {"seed": -1}])
def test_senseless_sizes_are_refused(arguments):
    with pytest.raises(UserError, match=rf"{next(iter(arguments))}=.*must be at least"):
        FlowersDataModule(**arguments)


def test_root_is_the_argument_else_the_environment_else_data(monkeypatch):
    monkeypatch.setenv("FLOWERS102_ROOT", "/from/environment")
    assert str(FlowersDataModule(root="/from/argument").root) == "/from/argument"
    assert str(FlowersDataModule().root) == "/from/environment"
    monkeypatch.delenv("FLOWERS102_ROOT")
    assert str(FlowersDataModule().root) == "data"


def test_without_images_and_network_it_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.flowers102.download_and_extract_archive", refuse)
    with pytest.raises(UserError) as caught:
        FlowersDataModule(root=str(tmp_path)).prepare_data()
    for part in (str(tmp_path / "flowers-102"), "no network", "imagelabels.mat", "setid.mat", "data=synthetic"):
        assert part in str(caught.value)


@pytest.mark.real_data
def test_the_real_splits():
    data = FlowersDataModule(num_workers=0)
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
        FlowersDataModule(num_classes=50).setup()

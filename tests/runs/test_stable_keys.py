"""Run ids and names of cache entries are those of commit fbfefbc: what was made then is found, and made only once.

Nothing of the machine enters them here: images and weights have fixed bytes, and what does enter (versions of Pillow,
torchvision and PyTorch into cache entries, whether there is a GPU into both) is set to what it was then. The package's
version enters the ids too: whatever it is now, "0.1.0" must stay in the hash.
"""

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import lightning as L
import PIL
import pytest
import torch
import torchvision
from torch.torch_version import TorchVersion
from torchvision.datasets import Flowers102

ARCHIVE = Path(__file__).parents[1] / "old_runs" / "old_runs.tar.xz"
FOLDER = ["data=folder", "data.root=photos", "data.image_size=32", "data.batch_size=6", "backbone=mobilenet_v3_small"]
FOLDER += ["backbone.weights=weights.pth", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
DRAWN = ["data=synthetic", "data.root=drawn", "data.num_classes=3", "data.train_per_class=4", "data.val_per_class=2"]
DRAWN += ["data.test_per_class=3", "data.image_size=32", "backbone.weights=weights.pth"]

# Overrides, whether what frozen stages make is kept (else data are only set up), the run's id, and entries in the cache.
CASES = {
    "feature_extraction": (
        FOLDER,
        True,
        "c1667906a3ad",
        ["features-7ffd6b52da44130dcc17", "pictures-21b96e22a6cac5a71b4b"],
    ),
    "fine_tuning, weighed classes, sgd": (
        [*FOLDER, "strategy=fine_tuning", "data.balance=weights", "regularisation=label_smoothing", "optimizer=sgd"],
        True,
        # Its loss was wrong then, so it is another run since, on purpose: "6d52d3d57d1c" was its id.
        "08c415dc4e0c",
        [
            "features-4411517fe99ba74d4753",
            "features-6153069ce591df2aca99",
            "features-af4cd6d9547bb133d631",
            "pictures-21b96e22a6cac5a71b4b",
        ],
    ),
    "late stages, cosine, ema": (
        [
            *FOLDER,
            "strategy=fine_tuning",
            "strategy.name=late",
            "scheduler=cosine",
            "regularisation=ema",
            "strategy.table=[{stage:head,lr:1e-3},{stage:stage2,lr:x0.5,from_epoch:1,only:[norm]}]",
            "trainer.max_epochs=2",
        ],
        True,
        "c86d9ed05583",
        ["features-efba33ca75998be80a55", "pictures-21b96e22a6cac5a71b4b"],
    ),
    "solved head, bf16": (
        [*FOLDER, "strategy=linear_probe", "cache.precision=bf16", "trainer.precision=bf16-mixed"],
        True,
        "00784381cd66",
        [
            "features-398fcfcde81e58bbf298",
            "features-46f3008ac8d4c244ffe3",
            "features-e5c81fec6ccd6b52a1e8",
            "features-e99307a3db4dcde71281",
            "pictures-21b96e22a6cac5a71b4b",
        ],
    ),
    "many heads, other views": (
        [*FOLDER, "heads.lr=[0.001,0.01]", "heads.seeds=2", "cache.views=2", "cache.view_seed=7", "seed=3"],
        True,
        "f4865a9606f2",
        ["features-7ffd6b52da44130dcc17", "pictures-21b96e22a6cac5a71b4b"],
    ),
    "few images, other crops": (
        [*FOLDER, "strategy=lp_ft", "data.per_class=2", "data.augmentation=random_resized_crop", "optimizer=adamw"],
        True,
        "9296c9c8d8d8",
        ["features-70d3195db202f55492e5", "features-760f9fa983c47b8a5e2f", "pictures-21b96e22a6cac5a71b4b"],
    ),
    "no room for decoded images": (
        [*FOLDER, "cache.max_gb=0.0001", "data.split_seed=5", "data.val_fraction=0.2", "test_best=true"],
        False,
        "b71009796356",
        ["readable-24803d094d53d38016b9"],
    ),
    "drawn flowers, two devices": (
        [*DRAWN, "strategy=norm_tuning", "regularisation=mixup", "scheduler=onecycle", "trainer.devices=2"],
        False,
        "7cb350a301f8",
        [],
    ),
    "flowers, trainval, sampler": (
        [
            "data=flowers",
            "data.root=flowers",
            "data.protocol=trainval",
            "data.balance=sampler",
            "data.per_class=2",
            "strategy=gradual_unfreezing",
            "backbone=resnet18",
        ],
        False,
        "058e22b027a9",
        [],
    ),
    "textures, from scratch": (
        [
            "data=dtd",
            "data.root=textures",
            "data.partition=2",
            "strategy=from_scratch",
            "backbone=squeezenet1_1",
            "regularisation=early_stopping",
            "compute.channels_last=false",
        ],
        False,
        "fa374ef78949",
        [],
    ),
}


def set_up(config, kept=False):
    """Set a config's data up, and if ``kept`` compute all that its run keeps of them; return the run's id.

    This is all that is known here of the package's inside.
    """
    from flowers_tl.models.pretrained import load_weights
    from flowers_tl.runs.run_id import identify
    from flowers_tl.training import factory as parts

    data = parts.set_up_data(config)
    if kept:
        model = parts.make_model(config, data.num_classes, data.class_names)
        load_weights(model.backbone, config["backbone"]["weights"])
        trainer = L.Trainer(max_epochs=config["trainer"]["max_epochs"], accelerator="cpu", logger=False)
        features = parts.prepare_run_data(config, data, model, trainer, first_epoch=0)
        features.prepare("train", "val", "test")
        if model.strategy.head == "solved":
            features.before_head("train", "centre", "mirrored")
    return identify(config, data)["id"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with photos and weights, and sets of which only files' names and bytes matter."""
    folder = tmp_path_factory.mktemp("images")
    with tarfile.open(ARCHIVE) as archive:
        wanted = [member for member in archive if member.name.startswith(("old_runs/photos", "old_runs/weights.pth"))]
        archive.extractall(folder, wanted, filter="data")
    folder /= "old_runs"
    for texture in ("banded", "zigzagged"):
        for k in range(6):
            write(folder / "textures" / "dtd" / "dtd" / "images" / texture / f"{k}.jpg")
    for number, split in enumerate(("train", "val", "test")):
        lines = [f"{texture}/{number + k}.jpg\n" for texture in ("banded", "zigzagged") for k in (0, 3)]
        write(folder / "textures" / "dtd" / "dtd" / "labels" / f"{split}2.txt", "".join(lines))
    return folder


def write(file, text=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text or f"{file.parent.name}/{file.name}")


@pytest.fixture
def place(images, monkeypatch):
    """Work there, in an environment that is as it was then."""
    monkeypatch.chdir(images)
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    monkeypatch.setattr(torchvision, "__version__", "0.29.1+cu130")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.14.1+cu130"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    monkeypatch.delenv("FLOWERS_TL_WEIGHTS", raising=False)
    return images


@pytest.fixture
def case(request, place, config, tmp_path):
    """The id of one of the cases, and the names of the entries that it leaves in an empty cache."""
    overrides, kept, _, _ = CASES[request.param]
    if "data=synthetic" in overrides or "data=flowers" in overrides:
        fix_drawings(place, config)
    composed = config([*overrides, f"cache.dir={tmp_path / 'cache'}", "trainer.enable_progress_bar=false"])
    return set_up(composed, kept), sorted(
        file.name for file in (tmp_path / "cache").glob("[a-z]*-*") if "contents" not in file.name
    )


def fix_drawings(place, config):
    """Draw flowers, and put fixed bytes in the place of their images', which another Pillow would make otherwise."""
    if not (place / "flowers").exists():
        set_up(config([*DRAWN, "cache.enabled=false"]))
        for file in (place / "drawn").rglob("*.jpg"):
            file.write_text(file.name)
        (folder,) = (place / "drawn").iterdir()
        (place / "flowers").symlink_to(folder)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_ids_and_entries_are_what_they_were(case, request):
    _, _, own, entries = CASES[request.node.callspec.params["case"]]
    assert case == (own, entries)


def test_hashes_of_files_are_found_by_the_files_states(place, config, tmp_path):
    # Fresh copies: this process knows no hash of them.
    photos = shutil.copytree("photos", tmp_path / "photos")
    set_up(config([*FOLDER, f"data.root={photos}", f"cache.dir={tmp_path}"]))
    states = [file.stat() for file in sorted(photos.rglob("*.png"), key=str)]
    # Not as in 0.1.0, whose hashes are computed again: files of two mounts may be alike in all the other numbers.
    mount = (photos.stat().st_dev, os.statvfs(photos).f_fsid)
    stamp = repr([(own.st_ino, own.st_size, own.st_mtime_ns, own.st_ctime_ns, *mount) for own in states])
    description = {"format": 3, "files": hashlib.sha256(stamp.encode()).hexdigest(), "hash": "sha256"}
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:20]
    assert (tmp_path / f"contents-{key}").is_dir()

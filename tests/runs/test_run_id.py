"""Two runs have one id just where their results must be the same."""

import hashlib
import shutil

import pytest
import torch
from torchvision.models import resnet18

from flowers_tl.config.keys import LATER_KEYS
from flowers_tl.data.exclusions import FIELDS
from flowers_tl.data.registry import make_data
from flowers_tl.runs.run_id import fingerprint_weights, identify
from flowers_tl.training.factory import make_cache


@pytest.fixture
def identity(config, tiny):
    """The identity of a config on its data."""

    def found(**more):
        composed = config(tiny(**more))
        data = make_data(composed, make_cache(composed))
        data.prepare_data()
        data.setup()
        return identify(composed, data)

    return found


@pytest.fixture
def copy(identity, drawings, tmp_path):
    """A copy of the drawn flowers, and where one of its training images is."""
    identity()
    shutil.copytree(drawings, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "a.pth")
    return tmp_path / "a.pth"


def test_what_changes_no_result_changes_no_id(identity, copy, tmp_path):
    own = identity()["id"]
    same = {"data.num_workers": 1, "cache.dir": tmp_path / "other", "runs": tmp_path, "force": "true", "proof": "false"}
    for key, value in same.items():
        assert identity(**{key: value})["id"] == own, key
    assert identity(data__root=copy)["id"] == own


def test_the_articles_preprocessing_is_no_part_of_an_id_however_it_is_named(identity):
    own = identity()
    assert "preprocessing" not in own["protocol"]
    for value in ("IMAGENET1K_V1", "{resize:256,crop:224}", "{interpolation:bilinear}"):
        assert identity(**{"backbone.preprocessing": value}) == own
    other = identity(**{"backbone.preprocessing": "{interpolation:bicubic}"})
    assert other["protocol"]["preprocessing"]["interpolation"] == "bicubic"
    assert other["protocol"]["splits"] == own["protocol"]["splits"]


def test_a_run_is_another_where_earlier_versions_had_a_wrong_loss(identity, monkeypatch):
    both = {"data.balance": "weights", "regularisation.label_smoothing": 0.1}
    texts, sha256 = [], hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda text=b"": texts.append(text) or sha256(text))
    for more in ({}, *({key: value} for key, value in both.items()), both):
        identity(**more)
    assert [b'"loss"' in text for text in texts if b'"protocol"' in text] == [False, False, False, True]


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 1},
        {"strategy": "fine_tuning"},
        {"strategy.table.0.lr": 0.002},
        {"trainer.devices": 2},
        {"trainer.precision": "bf16-mixed"},
        {"data.fit": "pad"},
        {"data.flip": "none"},
        {"backbone.preprocessing": "{resize:232}"},
        {"data.batch_size": 2},
        {"data.per_class": 2},
        {"cache.views": 2},
        {"test_best": "true"},
    ],
)
def test_what_changes_a_result_changes_the_id(identity, more):
    assert identity(**more)["id"] != identity()["id"]


@pytest.mark.parametrize("cached", ["true", "false"])
def test_a_image_of_other_content_makes_another_run(identity, copy, cached):
    def found():
        return identity(data__root=copy, cache__enabled=cached)

    before = found()
    file = sorted(copy.glob("synthetic-*-3x4-2-3-32px-from-0/**/*.jpg"))[0]  # other tests have drawn other flowers
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    after = found()
    assert after["id"] != before["id"]
    changed = [
        name
        for name in ("train", "val", "test")
        if after["protocol"]["splits"][name] != before["protocol"]["splits"][name]
    ]
    assert len(changed) == 1


def test_weights_are_known_by_their_content(identity, weights, tmp_path):
    shutil.copy(weights, tmp_path / "b.pth")
    own, moved, random = (identity(backbone__weights=w) for w in (weights, tmp_path / "b.pth", "null"))
    assert own["id"] == moved["id"] != random["id"]
    state = torch.load(weights, weights_only=True)
    state["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(state, weights)
    assert identity(backbone__weights=weights)["id"] != own["id"]


def test_torchvisions_weights_are_known_by_their_files_name():
    assert fingerprint_weights("resnet18", "DEFAULT") == fingerprint_weights("resnet18", "IMAGENET1K_V1") != "random"


def test_fewer_training_images_are_another_run_of_the_same_protocol(identity):
    assert identity(data__per_class=1)["protocol"] == identity()["protocol"]
    assert identity(data__limit=3)["protocol"] != identity()["protocol"]
    assert identity(data__protocol="trainval")["protocol"] != identity()["protocol"]


def test_an_audit_is_known_by_the_images_that_it_leaves_out(identity, tmp_path):
    plain, pair = identity(), [f"flowers-102/jpg/image_{k:05d}.jpg" for k in (1, 2)]
    rows = f"near,{pair[0]},{pair[1]},train,test,x,y,1\n"
    ids = {}
    for name, text in (("one.csv", rows), ("two.csv", rows), ("none.csv", "")):
        (tmp_path / name).write_text(",".join(FIELDS) + "\n" + text)
        ids[name] = identity(data__exclude=tmp_path / name)
    assert ids["one.csv"] == ids["two.csv"]
    assert ids["none.csv"] == plain
    assert ids["one.csv"]["id"] != plain["id"]
    assert (ids["one.csv"]["protocol"]["excluded"], plain["protocol"].get("excluded")) == (2, None)


def test_a_later_key_enters_the_id_only_where_it_differs_from_its_default(config, tiny, monkeypatch):
    composed = config(tiny())
    data = make_data(composed)
    data.prepare_data()
    data.setup()
    before = identify(composed, data)["id"]
    later = composed | {"compute": composed["compute"] | {"new": 4}}
    assert identify(later, data)["id"] != before
    monkeypatch.setitem(LATER_KEYS, "compute.new", 4)
    assert identify(later, data)["id"] == before
    later["compute"]["new"] = 5
    assert identify(later, data)["id"] != before

"""A split that a set lacks is cut out of train: by class, repeatably, and so that little moves when images come or go."""

from collections import Counter
from pathlib import Path

import pytest

from flowers_tl.data.splits import SPLITS, ImageSplit, add_missing_splits
from flowers_tl.utils.errors import UserError

SHARES = {"val": 0.15, "test": 0.2}
ROOT = Path("photos")


def make(counts: dict[str, int], root: Path = ROOT) -> ImageSplit:
    """A set of so many images a class; nothing is read."""
    pairs = [(root / name / f"{k}.jpg", label) for label, (name, n) in enumerate(counts.items()) for k in range(n)]
    return ImageSplit([file for file, _ in pairs], [label for _, label in pairs], list(counts))


def cut(pool: ImageSplit, root: Path = ROOT, seed: int = 0, **shares: float) -> dict[str, ImageSplit]:
    return add_missing_splits({"train": pool}, SHARES | shares, seed, root)


def where(found: dict[str, ImageSplit], root: Path = ROOT) -> dict[str, str]:
    """The split of each image, by its name below the root."""
    return {file.relative_to(root).as_posix(): name for name, split in found.items() for file in split.files}


def test_every_image_is_in_one_split_with_its_label():
    pool = make({"rose": 20, "tulip": 40, "aster": 7})
    found = cut(pool)
    assert sorted(file for split in found.values() for file in split.files) == sorted(pool.files)
    for split in found.values():
        assert [split.classes[label] for label in split.labels] == [file.parent.name for file in split.files]
        assert split.classes == ["rose", "tulip", "aster"]


def test_each_class_gives_its_share_and_at_least_one():
    found = cut(make({"rose": 20, "tulip": 41, "aster": 3}))
    counts = {name: [Counter(split.labels)[label] for label in range(3)] for name, split in found.items()}
    assert counts == {"train": [13, 27, 1], "val": [3, 6, 1], "test": [4, 8, 1]}


def test_which_images_is_the_same_for_ever():
    found = cut(make({"rose": 8, "tulip": 8}))
    names = {name: [f"{f.parent.name}/{f.stem}" for f in found[name].files] for name in ("val", "test")}
    assert names == {"val": ["rose/5", "tulip/6"], "test": ["rose/2", "rose/3", "tulip/1", "tulip/3"]}


def test_the_folder_may_lie_anywhere_and_files_come_in_any_order():
    own = where(cut(make({"rose": 20, "tulip": 20})))
    elsewhere = make({"rose": 20, "tulip": 20}, Path("/other/place"))
    assert where(cut(elsewhere, Path("/other/place")), Path("/other/place")) == own
    assert where(cut(elsewhere.part(reversed(range(40))), Path("/other/place")), Path("/other/place")) == own


def test_another_seed_cuts_out_other_images():
    pool = make({"rose": 40, "tulip": 40})
    assert where(cut(pool)) == where(cut(pool))
    assert where(cut(pool)) != where(cut(pool, seed=1))
    assert [len(split) for split in cut(pool).values()] == [len(split) for split in cut(pool, seed=1).values()]


def test_a_image_that_is_added_moves_hardly_any_other():
    before, after = (where(cut(make({"rose": n, "tulip": 30}))) for n in (30, 31))
    assert sum(after[name] != split for name, split in before.items()) <= 2


def test_another_share_of_val_leaves_test_as_it_is():
    pool = make({"rose": 30, "tulip": 30})
    one, other = cut(pool), cut(pool, val=0.4)
    assert one["test"] == other["test"]
    assert set(one["val"].files) < set(other["val"].files)


@pytest.mark.parametrize("has", [("train", "test"), ("train", "val"), SPLITS])
def test_splits_that_the_set_has_stay_as_they_are(has):
    sets = {name: make({"rose": 20, "tulip": 20}, ROOT / name) for name in has}
    found = add_missing_splits(sets, SHARES, 0, ROOT)
    assert set(found) == set(SPLITS)
    for name in set(has) - {"train"}:
        assert found[name] == sets[name]
    lacking = set(SPLITS) - set(has)
    assert len(found["train"]) == 40 - sum(len(found[name]) for name in lacking)
    assert all(len(found[name]) == 40 * SHARES[name] for name in lacking)


def test_a_class_of_too_few_images_is_named():
    with pytest.raises(UserError, match=r"The class 'aster' has only 2 images, too few for train, val, test: add"):
        cut(make({"rose": 20, "aster": 2}))
    with pytest.raises(UserError, match=r"The class 'rose' has only 4 images"):
        cut(make({"rose": 4}), val=0.4, test=0.4)
    sets = {"train": make({"rose": 20, "aster": 1}), "test": make({"rose": 1, "aster": 1})}
    with pytest.raises(UserError, match=r"The class 'aster' has only 1 image, too few for train, val:"):
        add_missing_splits(sets, SHARES, 0, ROOT)


@pytest.mark.parametrize("shares", [{"val": 0}, {"test": -0.1}, {"val": 0.5, "test": 0.5}, {"val": 1.5}])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(UserError, match=r"data.test_fraction=.* and data.val_fraction=.*: each share must be above 0"):
        cut(make({"rose": 20}), **shares)


def test_shares_of_splits_that_are_there_do_not_matter():
    sets = {name: make({"rose": 20}, ROOT / name) for name in SPLITS}
    assert add_missing_splits(sets, {"val": 7, "test": 7}, 0, ROOT) == sets


def test_a_limit_is_spread_over_the_split():
    split = make({"rose": 10, "tulip": 10}).spread(4)
    assert split.labels == [0, 0, 1, 1]
    assert len(make({"rose": 3}).spread(10)) == 3

"""However many images a class has, each is in one split, and what comes or goes moves little else."""

from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from flowers_tl.data.splits import SPLITS, ImageSplit, add_missing_splits
from flowers_tl.utils.errors import UserError

ROOT = Path("photos")
COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=5)
SHARES = st.tuples(st.floats(0.01, 0.6), st.floats(0.01, 0.6))
SEEDS = st.integers(0, 2**31 - 1)


def pool(counts, root=ROOT) -> ImageSplit:
    names = [f"class {label}" for label in range(len(counts))]
    pairs = [(root / names[label] / f"{k}.jpg", label) for label, count in enumerate(counts) for k in range(count)]
    return ImageSplit([file for file, _ in pairs], [label for _, label in pairs], names)


def cut(images, shares, seed, root=ROOT):
    """The splits, or None where they are refused."""
    try:
        return add_missing_splits({"train": images}, dict(zip(("val", "test"), shares, strict=True)), seed, root)
    except UserError:
        return None


@given(COUNTS, SHARES, SEEDS)
def test_every_image_is_in_one_split_and_every_class_in_each(counts, shares, seed):
    images = pool(counts)
    splits = cut(images, shares, seed)
    assert splits is not None or sum(shares) >= 1 or min(counts) < 3 / (1 - sum(shares)) + 3
    if splits:
        pairs = [pair for split in SPLITS for pair in zip(splits[split].files, splits[split].labels, strict=True)]
        assert sorted(pairs) == sorted(zip(images.files, images.labels, strict=True))
        assert all(set(splits[split].labels) == set(range(len(counts))) for split in SPLITS)


@given(COUNTS, SHARES, SEEDS)
def test_a_class_gives_its_share(counts, shares, seed):
    splits = cut(pool(counts), shares, seed)
    assume(splits is not None)
    for label, count in enumerate(counts):
        for split, share in zip(("val", "test"), shares, strict=True):
            assert splits[split].labels.count(label) == max(1, round(share * count))


@given(COUNTS, SHARES, SEEDS, st.randoms())
def test_order_and_place_of_the_files_change_nothing(counts, shares, seed, random):
    images, elsewhere = pool(counts), pool(counts, Path("elsewhere"))
    order = list(range(len(elsewhere)))
    random.shuffle(order)
    one, other = cut(images, shares, seed), cut(elsewhere.part(order), shares, seed, Path("elsewhere"))
    assert (one is None) == (other is None)
    for split in SPLITS if one else ():
        names = [sorted(file.relative_to(file.parts[0]) for file in splits[split].files) for splits in (one, other)]
        assert names[0] == names[1]


@given(COUNTS, SHARES, SEEDS, st.data())
def test_one_image_less_moves_at_most_three_others_of_its_class(counts, shares, seed, data):
    images = pool(counts)
    gone = data.draw(st.sampled_from(images.files))
    before, after = cut(images, shares, seed), cut(images.without({gone}), shares, seed)
    assume(before is not None and after is not None)
    where = [{file: split for split in SPLITS for file in splits[split].files} for splits in (before, after)]
    moved = [file for file, split in where[1].items() if where[0][file] != split]
    assert len(moved) <= 3
    assert {file.parent for file in moved} <= {gone.parent}


@given(COUNTS, SHARES, st.floats(0.01, 0.6), SEEDS)
def test_another_share_of_val_leaves_test_as_it_is(counts, shares, other, seed):
    one, two = cut(pool(counts), shares, seed), cut(pool(counts), (other, shares[1]), seed)
    assume(one is not None and two is not None)
    assert one["test"] == two["test"]


@given(COUNTS, st.integers(1, 200))
def test_spread_takes_so_many_images_in_their_order(counts, most):
    images = pool(counts)
    some = images.spread(most)
    assert len(some) == min(most, len(images))
    assert [file for file in images.files if file in set(some.files)] == some.files

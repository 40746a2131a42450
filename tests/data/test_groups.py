"""Images of a group are never on both sides, whatever says what a group is; folds are stratified and cover every image once."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowers_tl.data.groups import find_groups
from flowers_tl.data.splits import SPLITS, Cutting, ImageSplit
from flowers_tl.utils.errors import UserError

ROOT = Path("photos")


def plants(counts: list[list[int]]) -> tuple[ImageSplit, dict[Path, str]]:
    """For each class the numbers of photographs of its plants."""
    rows = [
        (ROOT / f"{c}/plant{p}_{k}.jpg", c) for c, of in enumerate(counts) for p, n in enumerate(of) for k in range(n)
    ]
    pool = ImageSplit(
        [file for file, _ in rows], [label for _, label in rows], [f"class {c}" for c in range(len(counts))]
    )
    return pool, {file: str(file).rpartition("_")[0] for file in pool.files}


def split(pool, groups, **keys) -> dict[str, ImageSplit]:
    return Cutting(groups="(x)", **keys).apply({"train": pool}, ROOT, groups)


def sides(splits: dict[str, ImageSplit], groups) -> dict[str, set[str]]:
    return {
        group: {s for s in splits for file in splits[s].files if groups[file] == group} for group in groups.values()
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=6, max_size=14), min_size=2, max_size=4),
    st.integers(0, 3),
    st.sampled_from([None, 3, 5]),
)
def test_no_group_is_on_two_sides_and_every_class_in_every_split(counts, seed, folds):
    pool, groups = plants(counts)
    for fold in range(folds or 1):
        found = split(pool, groups, split_seed=seed, folds=folds, fold=fold)
        assert all(len(where) == 1 for where in sides(found, groups).values())
        assert sorted(file for s in SPLITS for file in found[s].files) == sorted(pool.files)
        assert all(set(found[s].labels) == set(pool.labels) for s in SPLITS)


def test_shares_are_met_as_nearly_as_groups_allow():
    pool, groups = plants([[3] * 40, [2] * 60])
    found = split(pool, groups, test_fraction=0.2)
    assert [len(found[s]) for s in SPLITS] == [156, 36, 48]


def test_a_small_group_is_left_for_every_split_to_come():
    found = split(*plants([[1, 1, 98], [1] * 20]))
    assert [Counter(found[s].labels)[0] for s in SPLITS] == [98, 1, 1]


def test_folds_cover_every_image_once_and_are_the_same_whatever_the_order():
    pool, groups = plants([[1, 2, 3, 4, 5] * 4, [2] * 25, [6] * 5])
    tests = [split(pool, groups, folds=5, fold=k)["test"] for k in range(5)]
    assert sorted(file for test in tests for file in test.files) == sorted(pool.files)
    for label in range(3):
        counts = [Counter(test.labels)[label] for test in tests]
        assert max(counts) - min(counts) <= 2, counts
    shuffled = pool.part(reversed(range(len(pool))))
    assert {*split(shuffled, groups, folds=5, fold=2)["test"].files} == {*tests[2].files}
    assert {*split(pool, groups, folds=5, fold=2, split_seed=1)["test"].files} != {*tests[2].files}
    alone = [Cutting(folds=4, fold=k).apply({"train": pool}, ROOT, {})["test"] for k in range(4)]
    for label in range(3):
        counts = [Counter(test.labels)[label] for test in alone]
        assert max(counts) - min(counts) <= 1


def test_a_group_over_two_classes_stays_together():
    pool, _ = plants([[4] * 9, [4] * 9])
    groups = find_groups(pool.files, ROOT, r"(plant\d+)_")
    assert all(len(where) == 1 for where in sides(split(pool, groups), groups).values())


@pytest.mark.parametrize(
    ("counts", "keys", "sentence"),
    [
        ([[5, 5], [1] * 9], {}, "The class 'class 0' has only 2 groups of images, too few for train, val, test"),
        ([[5, 5, 5], [1] * 9], {"folds": 5}, r"has only 3 groups, fewer than data.folds=5: use fewer"),
    ],
)
def test_too_few_groups_are_told(counts, keys, sentence):
    with pytest.raises(UserError, match=sentence):
        split(*plants(counts), **keys)


def test_folds_and_splits_of_the_data_contradict_each_other():
    pool, groups = plants([[2] * 9, [2] * 9])
    own = {"train": pool.part(range(4, 36)), "test": pool.part(range(3))}
    with pytest.raises(UserError, match=r"data.folds=3 cuts test and val .* its own test"):
        Cutting(folds=3).apply(own, ROOT, {})
    with pytest.raises(UserError, match=r"data.fold=3 is none of data.folds=3: use 0 to 2"):
        Cutting(folds=3, fold=3)
    with pytest.raises(UserError, match=r"set data.folds too"):
        Cutting(fold=1)
    own = {"train": pool.part(range(1, 36)), "test": pool.part([0])}
    with pytest.raises(UserError, match=r"are of one group by data.groups=\(x\): put them into one split"):
        Cutting(groups="(x)").apply(own, ROOT, groups)


def test_a_pattern_that_fits_nothing_or_is_none_is_told(capsys):
    pool, _ = plants([[2, 2], [2]])
    for pattern, sentence in (
        ("(rose)", r"fits no image's path, such as 0/plant0_0.jpg"),
        ("plant", "no column, no audit.csv, and no pattern with a part in parentheses"),
        ("(", "is no pattern"),
        ("(a{99999999999})", "is no pattern"),
    ):
        with pytest.raises(UserError, match=sentence):
            find_groups(pool.files, ROOT, pattern)
    assert len(find_groups(pool.files, ROOT, r"0/(plant\d+)_")) == 4
    # Names may have bytes that are no text, and parts may be absent.
    assert find_groups([ROOT / "\udcff1_b.jpg"], ROOT, "(x)?(1)_") == {ROOT / "\udcff1_b.jpg": " 1"}
    assert "does not fit 2 of 6 images, each a group of its own: 1/plant0_0.jpg" in capsys.readouterr().err


def test_a_pattern_that_would_take_years_ends_in_a_sentence(monkeypatch):
    monkeypatch.setattr("flowers_tl.data.groups.MOST_SECONDS", 1)
    with pytest.raises(UserError, match=r"could not be compared with 1 paths within 1 s: use a simpler pattern"):
        find_groups([ROOT / f"{'a' * 60}b.jpg"], ROOT, "((a+)+)c")


def test_copies_of_an_audit_are_groups_by_its_table_or_as_the_newest(tmp_path, monkeypatch):
    root = tmp_path / "photos"
    files = [root / f"{name}.jpg" for name in ("a", "b", "c", "d", "=e")]
    folder = tmp_path / "runs" / "audit_1"
    folder.mkdir(parents=True)
    rows = ["near,a.jpg,b.jpg", "suspect,d.jpg,", "exact,c.jpg,b.jpg", "near,d.jpg,'=e.jpg"]
    (folder / "audit.csv").write_text("\r\n".join(["kind,image,other", *rows]))
    (folder / "audit.json").write_text(json.dumps({"data": {"root": str(root)}}))
    monkeypatch.setenv("FLOWERS_TL_RUNS", str(tmp_path / "runs"))
    for how in ("auto", str(folder / "audit.csv")):
        groups = find_groups(files, root, how)
        assert [
            [file.stem for file in files if groups.get(file) == name] for name in dict.fromkeys(groups.values())
        ] == [
            ["a", "b", "c"],
            ["d", "=e"],
        ]
    with pytest.raises(UserError, match="about other images"):
        find_groups([tmp_path / "x" / "z.jpg"], tmp_path / "x", str(folder / "audit.csv"))
    with pytest.raises(UserError, match=r"data.groups=auto finds no audit of .*: run python -m flowers_tl.audit"):
        find_groups(files, tmp_path, "auto")
    with pytest.raises(UserError, match=r"can't be read as the audit.csv"):
        find_groups(files, root, "nowhere.csv")

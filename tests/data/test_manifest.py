"""A table of images is read in every format; what is wrong with it is told with line numbers."""

import csv
import json
import random
import sys

import pytest

from flowers_tl.data.image_folder import read_folder
from flowers_tl.data.manifest import ManifestDataModule
from flowers_tl.data.splits import SPLITS
from flowers_tl.utils.errors import UserError

COUNTS = {"rose": 8, "aster": 6, "poppy, red": 5}


@pytest.fixture
def listed(photos):
    """A folder of photographs, and a row for each."""
    root = photos(COUNTS)
    return root, [{"path": f"{name}/{k}.jpg", "label": name} for name, count in COUNTS.items() for k in range(count)]


def write(root, rows, name="labels.csv", delimiter=","):
    with open(root / name, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(root / name)


def splits_of(file, **keys):
    data = ManifestDataModule(file, **keys)
    return data.plan_splits()


def test_a_table_of_a_folder_gives_the_splits_of_the_folder_whatever_its_order(listed, config):
    from flowers_tl.data.registry import make_data

    root, rows = listed
    random.Random(0).shuffle(rows)
    file = write(root.parent, [row | {"path": f"photos/{row['path']}"} for row in rows])
    folder = make_data(config(["data=folder", f"data.root={root}"]))
    table = make_data(config(["data=manifest", f"data.file={file}"]))
    assert read_folder(root)["train"].files == table.find_splits()["train"].files
    beside = splits_of(write(root, rows))
    assert beside == folder.plan_splits()
    assert beside["train"].classes == sorted(COUNTS)


@pytest.mark.parametrize("kind", ["semicolons", "tsv", "jsonl", "parquet"])
def test_every_format_says_the_same(listed, kind):
    root, rows = listed
    wanted = splits_of(write(root, rows))
    if kind == "semicolons":
        file = write(root, rows, "other.csv", ";")
    elif kind == "tsv":
        file = write(root, rows, "other.tsv", "\t")
    elif kind == "jsonl":
        file = root / "other.jsonl"
        file.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    else:
        table, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        file = root / "other.parquet"
        parquet.write_table(table.Table.from_pylist(rows), file)
    assert splits_of(str(file)) == wanted


def test_columns_have_other_names_and_a_table_may_name_splits(listed):
    root, rows = listed
    renamed = [
        {"file": row["path"], "species": row["label"], "part": SPLITS[k % 3], "split": "x"}
        for k, row in enumerate(rows)
    ]
    names = {"path_column": "file", "label_column": "species"}
    found = splits_of(write(root, renamed), **names, split_column="part")
    assert [len(found[split]) for split in SPLITS] == [7, 6, 6]
    assert found["test"].files[0].relative_to(root).as_posix() in {
        row["file"] for row in renamed if row["part"] == "test"
    }
    whole = splits_of(write(root, renamed), **names, split_column=None)
    assert len(whole["train"]) == 19 - len(whole["val"]) - len(whole["test"]) > 7


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: [*rows, rows[2] | {"label": "aster"}], r"lists images twice \(.*rose/2.jpg in lines 4, 21\)"),
        (
            lambda rows: [*rows, {"path": "./rose/../rose/2.jpg", "label": "rose"}],
            r"lists images twice \(.*in lines 4, 21",
        ),
        (
            lambda rows: [rows[0] | {"label": "rose "}, *rows[1:]],
            r"blanks .*: 'rose ' in line 2, 'rose' in line 3; write",
        ),
        (
            lambda rows: [rows[0] | {"label": "e\u0301"}, rows[1] | {"label": "\xe9"}, *rows[2:]],
            "in line 2, .* in line 3",
        ),
        (lambda rows: [rows[0] | {"label": ""}, *rows[1:]], "has no label in line 2: fill"),
        (
            lambda rows: [row | {"path": f"x/{row['path']}"} for row in rows],
            r"lists 19 of 19 images that are not .*in line 2",
        ),
        (lambda rows: [{"path": "../a.jpg", "label": "rose"}], r"not below .* in line 2 \(../a.jpg\): set data.root"),
        (lambda rows: [{"file": row["path"], "label": "x"} for row in rows], r"no column 'path': set data.path_column"),
        (lambda rows: [row | {"split": "Validation"} for row in rows], "split 'Validation' in line 2: write val"),
        (lambda rows: [row | {"split": "half"} for row in rows], "split 'half' in line 2: use train, val, test"),
        (lambda rows: rows[:8], "single class, 'rose'"),
        (
            lambda rows: [row | {"split": "test" if row["label"] == "rose" else "train"} for row in rows],
            "no train image of class rose",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_lines(listed, change, sentence):
    root, rows = listed
    with pytest.raises(UserError, match=sentence):
        splits_of(write(root, change(rows)))


def test_missing_images_and_labels_of_unlike_case_are_noted(listed, capsys):
    root, rows = listed
    rows = [rows[0] | {"label": "Rose"}, rows[1] | {"label": "Rose"}, rows[2] | {"label": "Rose"}, *rows[3:]]
    file = write(root, [*rows, {"path": "rose/99.jpg", "label": "rose"}])
    found = splits_of(file)
    assert found["train"].classes == ["Rose", "aster", "poppy, red", "rose"]
    noted = capsys.readouterr().err
    assert "count as different classes: 'Rose' in line 2, 'rose' in line 5." in noted
    assert f"lists 1 of 20 images that are not there, or can't be read: {root}/rose/99.jpg in line 21." in noted
    with pytest.raises(UserError, match=r"lists 1 of 20 images that are not there.*in line 21; correct"):
        splits_of(file, strict=True)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "", "lists no images"),
        ("a.csv", 'path,label\n"a,b\n', "can't be read as .csv"),
        ("a.csv", "path,label\na.jpg,b,c\n", "line 2 has more cells"),
        ("a.jsonl", '{"path": "a"}\n[1]\n', "line 2 holds no names"),
        ("a.jsonl", "words", "can't be read as .jsonl"),
        ("a.xlsx", "", "no table that can be read: use one of .csv, .tsv, .jsonl, .parquet"),
        ("a.parquet", "words", "can't be read as .parquet"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(UserError, match=sentence):
        splits_of(str(tmp_path / name))


def test_without_pyarrow_a_sentence_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "a.parquet").write_text("")
    with pytest.raises(UserError, match=r"pyarrow, which is not installed: pip install '.\[parquet\]'"):
        splits_of(str(tmp_path / "a.parquet"))


def test_other_names_of_the_classes_are_another_run_and_the_run_keeps_their_order(listed, config, tmp_path):
    from flowers_tl.runs.run_id import identify
    from flowers_tl.training.factory import set_up_data

    root, rows = listed
    keys = ["data=manifest", "data.image_size=32", "backbone.weights=null", f"cache.dir={tmp_path / 'cache'}"]

    def identity(rows, name):
        composed = config([*keys, f"data.file={write(root, rows, name)}"])
        return identify(composed, set_up_data(composed))

    first, renamed = identity(rows, "a.csv"), [row | {"label": f"the {row['label']}"} for row in rows]
    assert first["classes"] == sorted(COUNTS)
    assert identity(rows[::-1], "b.csv") == first
    other = identity(renamed, "c.csv")
    assert other["protocol"] == first["protocol"]
    assert other["id"] != first["id"]


def test_its_column_of_groups_is_respected_unless_it_is_turned_off(listed):
    root, rows = listed
    grouped = [row | {"group": f"{row['label']} {k % 4}" if k < 14 else ""} for k, row in enumerate(rows)]
    data = ManifestDataModule(write(root, grouped), groups="group")
    found = data.plan_splits()
    where = {
        name: {s for s in SPLITS for file in found[s].files if data.groups.get(file) == name}
        for name in data.groups.values()
    }
    assert len(where) == 8
    assert all(len(of) == 1 for of in where.values())
    file = write(root, rows, "without.csv")
    assert splits_of(file, groups="group") == splits_of(file) == splits_of(write(root, grouped), groups=None)

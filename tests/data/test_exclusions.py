"""An audit's file leaves out what it should: in what is measured the later copy, in training the earlier one."""

import re
import shutil
from pathlib import Path

import pytest

from flowers_tl.data.exclusions import CONFIRMED, FIELDS, TWO_LABELS, read_exclusions
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.utils.errors import UserError
from tests.data.opened_folders import open_folder

ROWS = """near,a.jpg,b.jpg,train,test,aster,aster,0.95,
exact,c.jpg,d.jpg,train,val,rose,rose,1,
near,e.jpg,f.jpg,train,train,rose,rose,0.95,
near,g.jpg,h.jpg,train,test,aster,rose,0.95,
exact,i.jpg,j.jpg,val,test,aster,aster,1,FALSE
burst,k.jpg,l.jpg,train,test,aster,aster,1,
suspect,m.jpg,,test,,aster,rose,0.5,
suspect,n.jpg,,test,,aster,rose,0.9,TRUE
inseparable,,,,,aster,rose,0.5,true
"""


def write(tmp_path, rows=ROWS, header=(*FIELDS, "confirmed")):
    file = tmp_path / "audit.csv"
    # As a spreadsheet saves it.
    file.write_text("\n".join([",".join(header), rows]), encoding="utf-8-sig")
    return file


def splits_of(rows):
    places = {name: [] for name in SPLITS}
    for cells in (row.split(",") for row in rows.splitlines()):
        for image, split in ((cells[1], cells[3]), (cells[2], cells[4])):
            if image:
                places[split].append(image)
    return places


def test_of_what_is_measured_the_later_copy_is_left_out_and_suspects_only_if_confirmed(tmp_path):
    exclusions, places = read_exclusions(write(tmp_path)), splits_of(ROWS)
    why = exclusions.measured("test", places["test"])
    assert why == {"b.jpg": "a copy in train", "h.jpg": "a copy in train", "n.jpg": CONFIRMED}
    assert exclusions.measured("val", places["val"]) == {"d.jpg": "a copy in train"}
    # Nothing comes before train, but a label that is wrong is wrong everywhere.
    assert exclusions.measured("train", places["train"]) == {"g.jpg": TWO_LABELS}


def test_training_leaves_out_the_earlier_copy_so_that_the_test_stays_what_it_is(tmp_path):
    root = Path("/photos")
    # One more image of each split, so that no class is empty.
    splits = {
        split: ImageSplit([root / name for name in [*names, f"{split}.jpg"]], [0] * (len(names) + 1), ["flower"])
        for split, names in splits_of(ROWS).items()
    }
    kept, out = read_exclusions(write(tmp_path)).leave_out(splits, root)
    assert out == ["a.jpg", "c.jpg", "g.jpg", "h.jpg", "n.jpg"]
    assert [file.name for file in kept["val"].files] == ["d.jpg", "i.jpg", "val.jpg"]
    # The file's splits do not matter here: the same pair within one split is no leak.
    together = {
        "train": splits["train"] + splits["val"] + splits["test"],
        "val": splits["val"].part([]),
        "test": splits["val"].part([]),
    }
    assert read_exclusions(write(tmp_path)).leave_out(together, root)[1] == ["g.jpg", "h.jpg", "n.jpg"]


def test_an_audit_of_other_data_or_splits_is_refused(tmp_path):
    exclusions = read_exclusions(write(tmp_path))
    with pytest.raises(UserError, match=r"has a.jpg in train, and here it is in test: audit the data with the same"):
        exclusions.measured("test", ["a.jpg", "b.jpg"])
    with pytest.raises(UserError, match="names no image of this test split"):
        exclusions.measured("test", ["other.jpg"])
    with pytest.raises(UserError, match="leaves no test image"):
        exclusions.measured("test", ["b.jpg"])
    splits = dict.fromkeys(SPLITS, ImageSplit([Path("/photos/other.jpg")], [0], ["rose"]))
    with pytest.raises(UserError, match="names no image in /photos: use an audit of these data"):
        exclusions.leave_out(splits, Path("/photos"))
    splits["train"] = ImageSplit([Path("/photos/a.jpg")], [0], ["aster"])
    splits["test"] = ImageSplit([Path("/photos/b.jpg")], [0], ["aster"])
    with pytest.raises(UserError, match="leaves no image of class 'aster' in train: keep one with confirmed=false"):
        exclusions.leave_out(splits, Path("/photos"))


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        (ROWS, FIELDS[1:], "has no column 'kind'"),
        ("near,a,b,train,dev,x,y,1,", (*FIELDS, "confirmed"), "names the split 'dev'"),
        ("near,a,b,train,test,x,y,1,maybe", (*FIELDS, "confirmed"), "takes true and false, 'maybe'"),
    ],
)
def test_another_file_is_one_sentence(tmp_path, rows, header, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_exclusions(write(tmp_path, rows, header))
    with pytest.raises(UserError, match=r"data\.exclude=no_such\.csv can't be read"):
        read_exclusions("no_such.csv", "data.exclude")


def test_a_name_that_a_spreadsheet_would_compute_is_read_as_it_was(tmp_path):
    file = write(tmp_path, "near,'=a.jpg,'b.jpg,train,test,x,x,1,")
    assert read_exclusions(file).splits == {"=a.jpg": "train", "'b.jpg": "test"}


def test_a_folder_is_opened_without_them_and_says_so(photos, tmp_path, capsys):
    for split in SPLITS:
        root = photos({"rose": 3, "aster": 3}, f"photos/{split}").parent
    for number, file in enumerate(sorted(root.rglob("*.jpg"))):
        file.write_bytes(file.read_bytes() + bytes([number]))
    shutil.copy(root / "train" / "rose" / "1.jpg", root / "test" / "rose" / "copy.jpg")
    file = write(tmp_path, "exact,train/rose/1.jpg,test/rose/copy.jpg,train,test,rose,rose,1,")
    plain, data = open_folder(root), open_folder(root, exclude=str(file))
    assert data.excluded == ["train/rose/1.jpg"]
    assert [data.sizes[split] - plain.sizes[split] for split in SPLITS] == [-1, 0, 0]
    fingerprints = plain.split_fingerprints()
    assert "two splits" in capsys.readouterr().err
    own = data.split_fingerprints()
    assert [split for split in SPLITS if own[split] != fingerprints[split]] == ["train"]
    assert "two splits" not in capsys.readouterr().err

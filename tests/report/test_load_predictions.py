"""Damaged predictions are told, and runs on unlike images are refused."""

import pytest
from report_pages import section
from written_runs import TRUTH

from flowers_tl.utils.errors import UserError


def test_a_damaged_file_of_answers_is_as_good_as_none(run, report):
    (run("a") / "predictions.npz").write_bytes(b"PK\x03\x04 not whole")
    run("b", strategy="other", val=0.5)
    page, _, _ = report()
    assert "predictions.npz of a can&#39;t be read" in section(page, "provenance")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"images": [f"jpg/other_{k}.jpg" for k in range(10)]}, "different test images"),
        ({"truth": TRUTH[::-1].copy()}, "different labels of the test images"),
        ({"names": ["daisy", "rose", "lily"]}, "different classes"),
        ({"truth": TRUTH[:9], "kept": False}, "different numbers of test images"),
    ],
)
def test_runs_on_unlike_images_are_refused(run, report, other, what):
    run("a")
    run("b", strategy="other", **other)
    with pytest.raises(UserError, match=f"have {what}, so one report can't compare them"):
        report()

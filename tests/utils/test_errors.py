"""Errors of the input: one sentence, the nearest name, and nothing that means the working directory by an oversight."""

import pytest

from flowers_tl.utils.errors import UserError, first_line, needs_extra, shorten, suggest, validate_not_empty


def test_of_an_error_that_a_worker_hands_over_the_sentence_stays():
    traceback = (
        'Caught UserError in DataLoader worker process 0.\nTraceback:\n  File "x.py", line 1\nflowers_tl.utils.errors.'
    )
    assert (
        str(UserError(f"{traceback}UserError: a.jpg can't be read: replace it.\n"))
        == "a.jpg can't be read: replace it."
    )
    assert str(UserError("seed=-1 must be at least 0.")) == "seed=-1 must be at least 0."


def test_the_nearest_name_is_suggested_and_only_a_near_one():
    assert suggest("heda", ["stem", "head"]) == "did you mean 'head'? Known: stem, head"
    assert suggest("xyz", ["stem", "head"]) == "Known: stem, head"
    assert suggest("h9", (f"h{k}" for k in range(14)), most=2) == "did you mean 'h9'? Known: h0, h1 and 12 more"


def test_a_list_is_cut_and_counted():
    assert shorten(["a", "b"], most=2) == "a, b"
    assert shorten(["a", "b", "c"], most=2) == "a, b and 1 more"


@pytest.mark.parametrize(
    ("value", "key"),
    [({"data": {"root": ""}}, "data.root"), ({"images": ["a.jpg", " "]}, "images"), ({"a": [{"b": ("",)}]}, "a.b")],
)
def test_an_empty_text_is_refused_however_deep_it_lies(value, key):
    with pytest.raises(UserError, match=rf"^{key}= is empty"):
        validate_not_empty(value)


def test_what_is_no_text_may_be_empty():
    validate_not_empty({"root": None, "seed": 0, "list": [], "nothing": {}, "name": "x"})


def test_the_first_line_stands_within_a_sentence():
    assert first_line(ValueError("It is bad.\nAnd long.")) == "It is bad"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_package_that_is_missing_is_told_with_its_extra_and_no_other_is_taken_for_it():
    def importing(name):
        with needs_extra("onnx", "formats=onnx needs onnx", "export"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    for name in ("onnx", "onnx.helper"):
        with pytest.raises(
            UserError, match=r"^formats=onnx needs onnx: pip install '.\[export\]' in a checkout of the project\.$"
        ):
            importing(name)
    with pytest.raises(ModuleNotFoundError, match="onnxscript"):
        importing("onnxscript")


@pytest.mark.parametrize("value", ["~", "~/runs"])
def test_a_folder_called_as_the_home_is_refused(value):
    with pytest.raises(UserError, match=f"cache.dir={value} would be a folder called ~ here"):
        validate_not_empty({"cache": {"dir": value}})
    validate_not_empty({"data": {"root": value}, "images": ["~rose.jpg"]})

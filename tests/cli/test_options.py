"""Options are typed key=value: values hold anything, and what can't be is told with the nearest that can."""

import pytest

from flowers_tl.cli.options import Options, parse_bool
from flowers_tl.utils.errors import UserError


@pytest.fixture
def options():
    options = Options("predict", "What it does.", overrides=("data",))
    options.add("images", "pictures", action="append")
    options.add("top", "how many", 5, type=int)
    options.add("format", "how", "table", choices=("table", "csv"))
    options.add("backbone.weights", "weights", "DEFAULT")
    options.add("explain", "true: also why", False, type=parse_bool)
    return options


def test_a_value_is_all_behind_the_first_equals_sign(options):
    names = ["a b.jpg", "a=b.jpg", "a,b.jpg", "[1].jpg", "-x.jpg", "'quoted'.jpg", "${x}.jpg"]
    assert options.read([f"images={name}" for name in names])["images"] == names


def test_values_have_types_and_defaults(options):
    read = options.read(["top=3", "explain=true", "backbone.weights=w.pth", "--format=csv"])
    assert (read["top"], read["explain"], read["backbone.weights"], read["format"]) == (3, True, "w.pth", "csv")
    assert options.read([])["images"] is None
    assert options.read([])["top"] == 5


def test_overrides_are_handed_on_as_they_are(options):
    assert options.read(["data=synthetic", "data.limit=3", "top=2"])["overrides"] == ["data=synthetic", "data.limit=3"]


def test_help_says_what_else_may_be_given(options, capsys):
    with pytest.raises(SystemExit):
        options.read(["--help"])
    assert "Also data=... or data.KEY=..., as python -m flowers_tl.train --help" in " ".join(
        capsys.readouterr().out.split()
    )


def test_what_is_asked_once_is_not_named_twice(options):
    with pytest.raises(UserError, match="top is named twice"):
        options.read(["top=3", "images=a", "images=b", "top=4"])


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("formt=csv", "There is no option 'formt': did you mean 'format'?"),
        ("photo.jpg", "photo.jpg can't be read as key=value"),
        ("top=many", "top: invalid int value: 'many'"),
        ("format=xml", "format: invalid choice: 'xml'"),
        ("explain=yes", "explain: yes must be true or false"),
        ("trainer.devices=1", "There is no option 'trainer.devices'"),
        ("backbone.weights=", "backbone.weights= names nothing: give it a value, or leave it out."),
        ("images=", "images= names nothing"),
    ],
)
def test_what_can_not_be_is_one_sentence(options, word, sentence):
    with pytest.raises(UserError) as error:
        options.read([word])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_help_shows_options_as_they_are_typed(options, capsys):
    with pytest.raises(SystemExit) as end:
        options.read(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for shown in ("images=VALUE", "format=table|csv", "backbone.weights=VALUE", "(default: 5)"):
        assert shown in text
    assert "--format" not in text

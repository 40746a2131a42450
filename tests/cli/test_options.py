"""Options are typed key=value: values hold anything, and what can't be is one sentence with the nearest right key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from flowers_tl.cli.options import Positional, command, is_override, parse_options
from flowers_tl.utils.errors import UserError


@dataclass(kw_only=True)
class Base:
    backbone__weights: str = "DEFAULT"
    """Weights."""


@dataclass(kw_only=True)
class Options(Base):
    """What it does."""

    images: list[Path]
    """Which images."""
    top: int = 5
    """How many
    classes."""
    share: float | None = None
    """A share."""
    format: Literal["table", "csv"] = "table"
    """How."""
    explain: bool = False
    """true: also why."""
    class_: str | None = None
    """A class."""
    overrides: Annotated[list[str], Positional("[data.KEY=...]", is_override("data"))] = field(default_factory=list)
    """Other data."""


def read(*words: str) -> Options:
    return parse_options(Options, ["images=x", *words])


def test_a_value_is_all_behind_the_first_equals_sign():
    names = ["a b.jpg", "a=b.jpg", "a,b.jpg", "[1].jpg", "-x.jpg", "'quoted'.jpg", "${x}.jpg"]
    assert parse_options(Options, [f"images={name}" for name in names]).images == [Path(name) for name in names]


def test_values_have_types_and_defaults():
    options = read("top=3", "explain=true", "backbone.weights=w.pth", "format=csv", "share=0.5", "class=rose")
    assert options == Options(
        images=[Path("x")], top=3, explain=True, backbone__weights="w.pth", format="csv", share=0.5, class_="rose"
    )
    assert read() == Options(images=[Path("x")])


def test_overrides_are_handed_on_as_they_are():
    assert read("data=synthetic", "data.limit=3", "top=2").overrides == ["data=synthetic", "data.limit=3"]


def test_only_what_may_be_repeated_is_named_twice():
    assert read("images=y").images == [Path("x"), Path("y")]
    with pytest.raises(UserError, match="top is given twice"):
        read("top=3", "top=3")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("formt=csv", "There is no option 'formt': did you mean 'format'?"),
        ("photo.jpg", "photo.jpg can't be read as key=value"),
        ("top=many", "top=many is not a whole number"),
        ("share=half", "share=half is not a number"),
        ("top=", "top= is empty: give it a value, or leave it out."),
        ("top", "top has no value: write top=N."),
        ("format=xml", "format=xml must be table or csv"),
        ("explain=yes", "explain=yes must be true or false"),
        ("trainer.devices=1", "There is no option 'trainer.devices'"),
        ("--top=3", "use top=3 instead of --top"),
        ("--no-explain", "use explain=false instead of --no-explain"),
        ("--frmat=csv", "There is no option '--frmat': did you mean 'format'"),
        ("-m", "-m can't be read as key=value"),
    ],
)
def test_what_can_not_be_is_one_sentence(word, sentence):
    with pytest.raises(UserError) as error:
        read(word)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flag_with_its_value_in_the_next_word_is_explained_with_it():
    with pytest.raises(UserError, match="use top=20 instead of --top"):
        read("--top", "20")


def test_what_must_be_named_is_named():
    with pytest.raises(UserError, match="images is missing: images=PATH"):
        parse_options(Options, [])


def test_help_shows_options_as_they_are_typed(capsys):
    @command
    def main(options: Options) -> int:
        raise AssertionError("help runs nothing")

    with pytest.raises(SystemExit) as end:
        main(["nonsense", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for shown in (
        "What it does.",
        "images=PATH Which images. (may be repeated; must be named)",
        "backbone.weights=TEXT Weights. (default: DEFAULT)",
        "top=N How many classes. (default: 5)",
        "share=NUMBER A share. format=table|csv How. (default: table)",
        "explain=true|false true: also why. (default: false)",
        "class=TEXT A class.",
        "[data.KEY=...] Other data.",
    ):
        assert shown in text


def test_what_a_command_returns_is_its_exit_code():
    @command
    def main(options: Options) -> int:
        return options.top

    with pytest.raises(SystemExit) as end:
        main(["images=x", "top=3"])
    assert end.value.code == 3

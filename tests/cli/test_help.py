"""The help can be searched, and its columns fit."""

import pytest

from flowers_tl.cli.config_help import config_help
from flowers_tl.cli.help import Help, exit_after_help
from flowers_tl.utils.errors import UserError

HELP = Help(
    "this",
    "It does.",
    [("Colours", [("red = 1", "Warm."), ("blue", "Cold.")]), ("Sizes: how long.", [("a" * 40, "Wide.")])],
)


def test_all_of_the_help_is_in_columns_and_what_is_longer_has_a_line_of_its_own():
    rows = ["Colours:", "  red = 1  Warm.", "  blue     Cold.", "", "Sizes: how long.", f"  {'a' * 40}", "    Wide."]
    assert HELP.format().splitlines() == ["Usage: this", "", "It does.", "", *rows]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("red", ["Colours:", "  red = 1  Warm."]),
        ("COLD", ["Colours:", "  blue  Cold."]),
        ("sizes", ["Sizes: how long.", f"  {'a' * 40}", "    Wide."]),
    ],
)
def test_a_word_finds_options_meanings_and_sections(word, shown, capsys):
    with pytest.raises(SystemExit) as end:
        exit_after_help(["--help", word], lambda: HELP)
    assert end.value.code == 0
    assert capsys.readouterr().out.splitlines() == shown


def test_a_word_that_is_nowhere_is_an_error():
    with pytest.raises(UserError, match="The help has no word 'green': --help alone shows all of it"):
        exit_after_help(["--help", "green"], lambda: HELP)


@pytest.mark.parametrize("arguments", [["red", "--help"], ["--help", "seed=1"], ["--help", "--version"]])
def test_only_a_word_behind_the_flag_searches(arguments, capsys):
    with pytest.raises(SystemExit):
        exit_after_help(arguments, lambda: HELP)
    assert capsys.readouterr().out.startswith("Usage: this")


def test_each_key_of_train_has_a_meaning():
    for title, rows in config_help("It trains.").sections:
        assert all(meaning for _, meaning in rows), title
    assert "optimizer.weight_decay = 0.0" in config_help("").format("optimizer")
    assert "cache.dir" not in config_help("").format("optimizer")

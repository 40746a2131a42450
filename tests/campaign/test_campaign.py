"""A few tries of each promise; `make campaign` makes all."""

import pytest

from tests.campaign import MODULES, Try, attempt, find_tries, load
from tests.campaign.table import format_table, write_table

SHORT = [(name, one) for name in MODULES for one in find_tries(name, long=False)]


@pytest.mark.parametrize(
    ("name", "one"),
    [
        pytest.param(name, one, id=f"{name}-{one.name}", marks=[pytest.mark.slow] if one.slow else [])
        for name, one in SHORT
    ],
)
def test_promise(name, one, tmp_path):
    attempt(one, tmp_path)


def test_a_try_that_hangs_has_failed(tmp_path):
    def hang(folder):
        while True:
            pass

    with pytest.raises(AssertionError, match="after 1 s"):
        attempt(Try("hangs", hang, seconds=1), tmp_path)


def test_the_table_counts_failures_and_names_what_was_not_measured(tmp_path):
    held, broken = {"failure": None}, {"failure": "It was lost."}
    page = tmp_path / "reliability.md"
    page.write_text("# Promises\n<!-- campaign -->\nold\n<!-- end of campaign -->\nmore\n")
    results = {"kills": {"1": held, "2": broken, "3": held}}
    write_table(page, results)
    lines = page.read_text().splitlines()
    assert lines[:2] == ["# Promises", "<!-- campaign -->"]
    assert lines[-2:] == ["<!-- end of campaign -->", "more"]
    assert f"| [{load('kills').PROMISE}](../tests/campaign/kills.py) | 3 | 1 |" in lines
    assert sum("not measured" in line for line in lines) == len(MODULES) - 1
    assert format_table(results) in page.read_text()

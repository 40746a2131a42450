"""A few tries of each promise; `make campaign` makes all."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.campaign import MODULES, Try, attempt, find_tries, load
from tests.campaign import __main__ as runner
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


def test_a_stopped_campaign_goes_on_and_counts_its_failures(tmp_path, monkeypatch, capsys):
    made = []

    def run(name, folder):
        assert not [*folder.iterdir()]
        made.append(name)
        if name == "stops" and made.count(name) == 1:
            raise KeyboardInterrupt
        if name == "breaks":
            raise AssertionError("It is broken.")
        return "measured"

    monkeypatch.setattr(
        runner, "find_tries", lambda name, long: [Try(n, partial(run, n)) for n in ("holds", "breaks", "stops")]
    )
    words = ["only=kills", f"results={tmp_path / 'results.json'}"]
    with pytest.raises(SystemExit):
        runner.main(words)
    with pytest.raises(SystemExit) as ended:
        runner.main(words)
    assert ended.value.code == 1
    assert made == ["holds", "breaks", "stops", "stops"]
    assert "3 tries, 1 failures" in capsys.readouterr().out
    kept = json.loads((tmp_path / "results.json").read_text())["kills"]
    assert [kept[name]["failure"] for name in ("holds", "breaks", "stops")] == [None, "It is broken.", None]
    with pytest.raises(SystemExit):
        runner.main([*words, "again=failed"])
    assert made[4:] == ["breaks"]


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


def test_the_page_has_the_table_of_the_tries_that_were_made():
    root = Path(__file__).parents[2]
    newest = max((root / "benchmarks").glob("*_campaign.json"))
    assert format_table(json.loads(newest.read_text())) in (root / "docs" / "reliability.md").read_text()

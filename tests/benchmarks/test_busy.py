"""Each combination is measured once, beside as many busy processes as are named, with the setting that is named."""

import json
from pathlib import Path

import pytest

from benchmarks import busy, measure
from benchmarks.busy import main, table


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Commands are not run but noted, with their environment variables; each takes one second more than the one before."""
    noted = []

    def run(command, log, variables=()):
        noted.append((command[1], dict(variables)))
        folder = Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2])
        folder.mkdir()
        seconds = dict.fromkeys(("fit", "solve", "test"), float(len(noted)))
        (folder / "result.json").write_text(json.dumps({"seconds": seconds}))
        return {"seconds": 1.0}, ""

    monkeypatch.setattr(measure, "run", run)
    return noted


def call(monkeypatch, tmp_path, *words):
    arguments = ["jobs=linear_probe", "settings=as shipped,passive", "busy=0,1", f"out={tmp_path}", *words]
    monkeypatch.setattr("sys.argv", ["busy", *arguments])
    main()
    return json.loads((tmp_path / busy.FILE).read_text())["measured"]


def test_each_combination_is_measured_once_and_a_stopped_series_goes_on(commands, monkeypatch, tmp_path):
    rows = call(monkeypatch, tmp_path, "repeats=1")
    assert [(row["busy"], row["setting"]) for row in rows] == [
        (b, s) for b in (0, 1) for s in ("as shipped", "passive")
    ]
    # The first command fills the caches.
    assert [variables for _, variables in commands[1:]] == [{}, {"GOMP_SPINCOUNT": "0"}] * 2
    assert {word for word, _ in commands} == {"strategy=linear_probe"}
    again = call(monkeypatch, tmp_path, "repeats=2")
    assert again[:4] == rows
    assert [row["number"] for row in again] == [0] * 4 + [1] * 4


def test_the_table_has_medians():
    rows = [
        {"job": "linear_probe", "busy": 1, "setting": "passive", "phases": {"solve": seconds}} for seconds in (9, 1, 2)
    ]
    assert table(rows).splitlines()[-1] == "| linear_probe | solve | 1 | 2.0 s |"


@pytest.mark.parametrize("words", ["jobs=lp_ft", "settings=active", "repeats=0", "busy=-1"])
def test_wrong_words_are_refused(commands, monkeypatch, tmp_path, words, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, words)
    assert words.split("=")[0] in capsys.readouterr().err
    assert not commands

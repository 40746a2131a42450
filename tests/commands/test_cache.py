"""The cache is listed and cleared as a user asks, and nothing by a slip."""

import pytest

from flowers_tl.cache import main
from flowers_tl.data.cached.disk_cache import Cache, entries
from tests.data.cached.kept_things import keep


def test_the_command_lists_and_clears(run_command, tmp_path):
    keep(Cache(tmp_path))
    (tmp_path / "mine.txt").write_text("a user's own file")
    (tmp_path / ".building-things-0").mkdir()
    (tmp_path / ".building-things-0" / "data.bin").write_bytes(b"half")
    listed = run_command("cache", "list", f"dir={tmp_path}")
    assert "some things" in listed.stdout
    assert "1 entries" in listed.stdout
    assert "Removed 0.00 GB" in run_command("cache", "clear", f"dir={tmp_path}", "unused_days=1").stdout
    assert len(entries(tmp_path)) == 1
    assert run_command("cache", "clear", f"dir={tmp_path}").returncode == 0
    assert entries(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} == {"mine.txt"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["folder=x"], "There is no option 'folder'"),
        (["dir"], "dir has no value"),
        (["dir="], "dir= is empty"),
        (["dir=nowhere"], "dir=nowhere is no folder"),
        (["unused_days=-1"], "unused_days=-1 must be a number of days"),
        (["unused_days=nan"], "unused_days=nan must be a number of days"),
        (["unused_days=1", "unused_days=2"], "unused_days is given twice"),
    ],
)
def test_nothing_is_cleared_by_a_slip(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    keep(Cache())
    with pytest.raises(SystemExit):
        main(["clear", *words])
    assert sentence in capsys.readouterr().err
    assert len(entries(tmp_path / "flowers_tl")) == 1

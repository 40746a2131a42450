"""What stands in a terminal is what a name says."""

import pytest

from flowers_tl.cache import main as cache_command
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.utils.notes import log_table, track

NAMES = ["rose [wild]", "rose [/b]", "w[v1].pth", "[bold]", "rose :rose:", "[link=a]b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_shows_names_as_they_are(capsys, name):
    log_table(name, [f"{name} 1", "b"], [[f"{name} 2", f"{name} 3"]], footer=[f"{name} 4", ""])
    shown = capsys.readouterr().out
    assert [shown.count(f"{name}{end}") for end in ("", " 1", " 2", " 3", " 4")] == [5, 1, 1, 1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_shows_names_as_they_are(capsys, tmp_path, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")

    store = Cache(tmp_path / name.replace("/", ""), progress=True)
    store.get("pictures", name, {"a": 1}, "decode", lambda writer: list(track([1], name, store.progress)))
    cache_command([f"dir={store.folder}"])
    # A title that is wider than its table is wrapped.
    shown = " ".join(capsys.readouterr().out.split())
    assert name in shown
    assert store.folder.name in shown

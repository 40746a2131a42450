"""A record is data within bounds: what no run would write is a ValueError, and a text can't act on a terminal."""

import json
import os
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from flowers_tl.runs import read_record
from flowers_tl.runs.read_record import KINDS, MOST_LETTERS, follow_link, read_mapping, validate_unpacked
from flowers_tl.utils.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Read a record: a function of its text, and of its file's name."""

    def written(text, name="result.json"):
        (tmp_path / name).write_text(text)
        return read_mapping(tmp_path / name, KINDS)

    return written


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.yaml", "a: &a [1]\nb: [*a, *a]", "has YAML aliases"),
        ("config.yaml", "[" * 10_000, "recursion"),
        ("config.yaml", "a: !!python/name:os.system", "constructor"),
        ("config.yaml", "- 1", "holds no names"),
        ("result.json", "[" * 100_000, "recursion"),
        ("result.json", '{"a":' * 30 + "1" + "}" * 30, "nested too deep"),
        ("result.json", '{"seed": true}', "seed can't be True"),
        ("result.json", '{"parameters": 3}', "parameters can't be 3"),
        ("result.json", '{"data": {"root": ["/"]}}', r"data\.root can't be \['/'\]"),
        ("result.json", '{"learning_rates": {"head": "x"}}', r"learning_rates\.head can't be 'x'"),
        ("result.json", '{"seconds": {"total": 1e300}}', "too large a number"),
    ],
)
def test_what_no_run_would_write_is_refused(read, name, text, reason):
    with pytest.raises(ValueError, match=reason):
        read(text, name)


def test_a_record_of_a_run_is_read_as_it_is(read):
    record = {
        "status": "finished",
        "seed": 3,
        "data": {"root": None},
        "val": {"loss": None, "accuracy": 0.5},
        "x": [1, "ä"],
    }
    assert read(json.dumps(record)) == record


def test_what_is_larger_than_any_record_or_no_file_is_not_read(read, tmp_path, monkeypatch):
    monkeypatch.setitem(read_record.MOST_BYTES, ".json", 10)
    with pytest.raises(ValueError, match="its 17 bytes are more than 10"):
        read('{"seed": 1234567}')
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(OSError, match="no ordinary file"):
        read_mapping(tmp_path / "pipe.json")
    with pytest.raises(OSError, match=r"none\.json"):
        read_mapping(tmp_path / "none.json")


def test_texts_can_not_act_on_a_terminal_and_are_not_endless(read):
    record = read(json.dumps({"error": "a\x1b[2J\u202eb\nc", "names\x07": ["x" * 20_000]}))
    assert record == {"error": "a\ufffd[2J\ufffdb\nc", "names\ufffd": ["x" * MOST_LETTERS]}


def test_links_are_followed_until_they_lead_back(tmp_path):
    for name, link in (("a", "../b"), ("b", "../c"), ("d", "../e"), ("e", "../d"), ("f", ".")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "elsewhere.json").write_text(json.dumps({"run": link}))
    (tmp_path / "c").mkdir()
    assert follow_link(tmp_path / "a").resolve() == tmp_path / "c"
    assert follow_link(tmp_path / "c") == tmp_path / "c"
    for name in "df":
        with pytest.raises(UserError, match="links to itself"):
            follow_link(tmp_path / name)
    (tmp_path / "a" / "elsewhere.json").write_text("{}")
    with pytest.raises(UserError, match=r"a/elsewhere\.json can't be read"):
        follow_link(tmp_path / "a")


def test_an_archive_that_unpacks_to_far_more_than_it_has_is_refused(tmp_path, monkeypatch):
    with ZipFile(tmp_path / "a.npz", "w", ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**6))
    validate_unpacked(tmp_path / "a.npz")
    monkeypatch.setattr(read_record, "MOST_UNPACKED", 10**5)
    with pytest.raises(ValueError, match="unpacks to more"):
        validate_unpacked(tmp_path / "a.npz")

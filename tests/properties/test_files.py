"""What is written as JSON or CSV is read again as it was."""

import csv
import io
import json
import math
import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowers_tl.config.keys import flatten
from flowers_tl.runs.read_record import KINDS
from flowers_tl.runs.record import RunFolder, read_result
from flowers_tl.utils.files import csv_text, dumps, format_csv

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def without_infinity(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_infinity(inner) for key, inner in value.items()}
    return [without_infinity(inner) for inner in value] if isinstance(value, list) else value


def no_constant(name):
    raise AssertionError(f"{name} is no JSON.")


@given(PLAIN)
def test_json_comes_back_and_what_is_not_finite_is_null(value):
    assert json.loads(dumps(value), parse_constant=no_constant) == without_infinity(value)


# What a record may hold: see flowers_tl.runs.read_record.
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]))
RECORDED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e39, 1e39) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(st.dictionaries(TEXTS.filter(lambda key: key not in KINDS and key != "error"), RECORDED, max_size=4))
def test_a_record_comes_back(values):
    with tempfile.TemporaryDirectory() as folder:
        with RunFolder(folder, "seed: 0\n") as run:
            run.update(values)
        record = read_result(Path(folder))
    assert record["status"] == "finished"
    assert {key: record[key] for key in values} == without_infinity(values)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from(["val/loss", "train/loss", "lr/head"]), NUMBERS), max_size=5))
def test_a_history_is_taken_over_as_it_was(rows):
    rows = [{"epoch": epoch, "step": 2 * epoch} | row for epoch, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        with RunFolder(folder, "seed: 0\n") as run:
            for row in rows:
                run.append_history(row)
        with RunFolder(folder, "seed: 0\n", continues=Path(folder), first_epoch=len(rows)) as run:
            assert run.history == rows


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


@given(st.lists(st.dictionaries(st.sampled_from(["class", "file"]), TEXTS, min_size=2), max_size=5))
def test_a_csv_comes_back_and_holds_no_formula(rows):
    read = list(csv.DictReader(io.StringIO(format_csv(rows), newline="")))
    assert read == [{key: csv_text(value) for key, value in row.items()} for row in rows]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in read for cell in row.values())


KEYS = st.text(st.characters(categories=["Ll"]), min_size=1)
TREES = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3) | st.lists(inner, min_size=1, max_size=3),
)


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=3))
def test_dotted_keys_lead_to_every_value(tree):
    flat = flatten(tree)
    for key, value in flat.items():
        place = tree
        for part in key.split("."):
            place = place[int(part)] if isinstance(place, list) else place[part]
        assert place == value
    assert yaml.safe_load(yaml.safe_dump(flat)) == flat

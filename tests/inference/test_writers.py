"""Predictions are written so that other programs read them right."""

import io
import json

from flowers_tl.inference.predictor import Prediction
from flowers_tl.inference.writers import write_csv, write_jsonl


def test_predictions_as_csv_have_names_as_text_and_paths_that_are_found():
    out = io.StringIO()
    write_csv(Prediction("-v.jpg", ("=HYPERLINK(1)", "rose"), (0.75, 0.25)), out)
    assert out.getvalue() == "./-v.jpg,1,'=HYPERLINK(1),0.750000\n./-v.jpg,2,rose,0.250000\n"


def test_json_is_json_whatever_the_terminals_encoding():
    for encoding in ("utf-8", "ascii", "cp1252"):
        out = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", newline="")
        for name in ("café", "玫瑰", "\N{ROSE}"):
            write_jsonl(Prediction("caf\udce9.jpg", (name,), (1.0,)), out)
        out.flush()
        lines = [json.loads(line) for line in out.buffer.getvalue().decode(encoding).splitlines()]
        assert [line["top"][0]["class"] for line in lines] == ["café", "玫瑰", "\N{ROSE}"]
        assert {line["picture"] for line in lines} == {"caf\udce9.jpg"}

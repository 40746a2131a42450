"""Predictions are written so that other programs read them right."""

import io

from flowers_tl.inference.predictor import Prediction
from flowers_tl.inference.writers import write_csv


def test_predictions_as_csv_have_names_as_text_and_paths_that_are_found():
    out = io.StringIO()
    write_csv(Prediction("-v.jpg", ("=HYPERLINK(1)", "rose"), (0.75, 0.25)), out)
    assert out.getvalue() == "./-v.jpg,1,'=HYPERLINK(1),0.750000\n./-v.jpg,2,rose,0.250000\n"

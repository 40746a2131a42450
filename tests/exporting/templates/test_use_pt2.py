"""The card's code for a program of torch.export is used without this project."""

import pytest

from tests.exporting.cards import assert_card_answers_as_predict_does

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")


def test_the_code_on_the_card_runs_as_printed_and_answers_as_predict_does(out, calibrated, tmp_path):
    assert_card_answers_as_predict_does("model.pt2", out, calibrated, tmp_path)

"""An evaluation is printed and written with every metric."""

import json
from pathlib import Path

import numpy as np
import pytest

from flowers_tl.results.evaluation import Evaluation, print_evaluation, write_evaluation
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.results.scores import METRICS, Metric
from flowers_tl.results.statistics import probabilities


def test_a_metric_is_one_row(answered, tmp_path, monkeypatch, caplog):
    """The table of `evaluate` and evaluation.json have it, with its title and format."""
    logits, labels = answered

    def brier(logits, labels):
        return ((probabilities(logits) - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1).mean()

    row = Metric("brier", brier, "Brier score", "squared distance of the probabilities from the true class", ".3f")
    monkeypatch.setattr("flowers_tl.results.scores.METRICS", (*METRICS, row))
    split = SplitPredictions(logits, labels, [f"{k}.jpg" for k in range(len(labels))])
    result = Evaluation(Path("last.ckpt"), "test", split, list("abcdefg"), temperature=2.0)
    with caplog.at_level("INFO", logger="flowers_tl"):
        print_evaluation(result, most=1)
    write_evaluation(result, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for key, temperature in (("scores", 1), ("scores_with_temperature", 2)):
        assert list(written[key]) == ["pictures", "right", *(metric.name for metric in METRICS), "brier"]
        assert written[key]["brier"] == pytest.approx(brier(logits / temperature, labels))
    (line,) = [line for line in caplog.text.splitlines() if "Brier score" in line]
    assert line.split()[-2:] == [f"{brier(logits, labels):.3f}", f"{brier(logits / 2, labels):.3f}"]

"""A comparison's terminal, table, curves and report are of the same runs and numbers."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from written_runs import TRUTH, logits_of, write_run

from flowers_tl.compare import main
from flowers_tl.report.compare_runs import compare_runs, find_metric
from flowers_tl.report.curves import load_curves
from flowers_tl.results import scores
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.results.scores import read_monitor
from flowers_tl.utils.errors import UserError


def test_epochs_without_validation_are_gaps(write, tmp_path):
    folder = write("a")
    (folder / "history.csv").write_text("epoch,train/loss,val/loss,val/accuracy\n0,2.0,,\n1,1.0,0.5,0.9\n")
    (curve,) = load_curves(group_runs(find_runs([folder])[0])[0], "val/loss")
    assert curve.epochs.tolist() == [2]
    main([str(folder)])
    assert (folder / "comparison.png").is_file()


def test_a_solved_head_has_no_epochs_and_is_a_level(write, tmp_path, capsys):
    folder = write("probe", strategy="linear_probe")
    (folder / "history.csv").unlink()
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"epochs": 0, "learning_rates": {}, "solved_head": {}}))
    write("tuned", val=0.95)
    main([str(tmp_path), f"out={tmp_path}"])
    assert "is left out" not in "".join(capsys.readouterr())
    assert (
        "| linear_probe | 0 | 250 (25 %) | head solved | 90.0 % | 80.0 % | 0.400 |"
        in (tmp_path / "comparison.md").read_text()
    )
    image = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB")).astype(int)
    colour = np.abs(image - np.array([0xE7, 0x67, 0x12])).sum(-1) < 40  # the second group's, here the probe's
    assert colour[:, image.shape[1] // 3 :].any(axis=0).sum() > image.shape[1] // 5


def test_runs_that_diverged_stand_apart_and_are_never_best(write, tmp_path, capsys):
    """Those of earlier versions too, whose records say finished and hold bare NaN."""
    write("good/0", seed=0, val=0.6)
    for name, loss in (("NaN", float("nan")), ("Infinity", float("inf"))):
        assert name in (write(name, strategy="wild", val=0.99, loss=loss) / "result.json").read_text()
    folder = write("new", strategy="bold", val=1.0, status="diverged")
    (folder / "result.json").write_text(json.dumps({"status": "diverged", "seed": 0, "error": "The run diverged: so."}))
    runs, _ = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["0"]
    main([str(tmp_path), f"out={tmp_path}", f"report={tmp_path / 'report'}"])
    out = " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "report" / "report.md").read_text()
    for text in (out, (tmp_path / "comparison.md").read_text(), page):
        assert "diverged and is left out of rows and means (wild with seed 0): its val loss is nan." in text
        assert "diverged and is left out of rows and means (wild with seed 0): its val loss is inf." in text
        assert "diverged and is left out of rows and means (bold with seed 0): The run diverged: so." in text
        assert "wild has" not in text
    with pytest.raises(UserError, match=r"None of these runs is finished.*diverged"):
        find_runs([tmp_path / "NaN"])


def test_compare_reads_and_measures_the_answers_once(run, tmp_path, monkeypatch, capsys):
    run("a", logits=logits_of(1 - np.minimum(TRUTH, 1)))
    run("b", strategy="other", val=0.8)
    measured, read = [], Predictions.read
    *others, error = scores.METRICS
    assert error.name == "calibration_error"
    counted = error._replace(function=lambda *given: measured.append("error") or error.function(*given))
    monkeypatch.setattr(scores, "METRICS", (*others, counted))
    monkeypatch.setattr(Predictions, "read", lambda folder: measured.append(folder.name) or read(folder))
    main([str(tmp_path / "runs"), f"out={tmp_path / 'out'}", f"report={tmp_path / 'report'}"])
    assert sorted(measured) == ["a", "b", "error", "error"]
    assert (
        "fine_tuning has the best validation accuracy" in capsys.readouterr().out
    )  # advice and page are of the same numbers
    assert "fine_tuning has the best validation accuracy" in (tmp_path / "report" / "report.html").read_text()


def test_another_score_selects_from_kept_predictions_of_old_runs(tmp_path, capsys):
    """Two runs whose order by macro F1 is not that by accuracy; no record has the score, and the lowest loss is best too."""
    truth = np.array([0] * 6 + [1] * 2 + [2] * 2)
    answers = {"common": [0] * 6 + [0] * 2 + [2, 2], "even": [0] * 3 + [1] * 3 + [1] * 2 + [2, 2]}
    for number, (name, predicted) in enumerate(answers.items()):
        write_run(tmp_path / name, strategy=name, val=[0.8, 0.7][number], truth=truth, logits=logits_of(predicted))
        split = SplitPredictions(logits_of(predicted), truth, [f"{k}.jpg" for k in range(10)])
        test = Predictions.read(tmp_path / name).splits["test"]
        Predictions(["a", "b", "c"], {"val": split, "test": test}).write(tmp_path / name)
    runs = find_runs([tmp_path])[0]
    order = {
        name: [g.label for g in group_runs(runs, read_monitor(f"val/{name}"))[0]] for name in ("accuracy", "macro_f1")
    }
    assert order == {"accuracy": ["common", "even"], "macro_f1": ["even", "common"]}
    compare_runs([tmp_path], tmp_path / "out", monitor="val/macro_f1")
    text = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "even has the best validation macro F1 (" in text
    assert "selected by validation macro F1 alone" in text
    assert "validation accuracy" not in text.replace("although the other has the better", "")
    rows = list(csv.DictReader((tmp_path / "out" / "report" / "report.csv").read_text().splitlines()))
    assert float(rows[0]["val_macro_f1_mean"]) == pytest.approx(
        scores.macro_f1(logits_of(answers["even"]), truth), abs=1e-5
    )
    assert float(rows[0]["macro_f1_mean"]) == pytest.approx(float(rows[0]["val_macro_f1_mean"]))


def test_a_score_that_nothing_is_on_record_of_is_an_error(tmp_path):
    write_run(tmp_path / "a")
    with pytest.raises(UserError, match="monitor=val/auroc is not on record"):
        compare_runs([tmp_path / "a"], tmp_path / "out", monitor="val/auroc")
    assert not (tmp_path / "out").exists()


def test_the_runs_own_monitor_selects_where_all_have_one(tmp_path):
    runs = [find_runs([write_run(tmp_path / m[-4:], monitor=m)])[0][0] for m in ("val/loss", "val/top5")]
    assert [find_metric(runs[:1]).name, find_metric(runs).name, find_metric(runs, "val/auroc").name] == [
        "loss",
        "accuracy",
        "auroc",
    ]


def test_predictions_that_are_not_those_of_the_record_are_told_in_the_terminal(tmp_path, capsys):
    write_run(tmp_path / "a", test=0.4)
    main([str(tmp_path / "a")])
    said = " ".join(capsys.readouterr().out.split())
    assert "Note: fine_tuning: in a result.json and predictions.npz give different test accuracies" in said

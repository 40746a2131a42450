"""A comparison says what the runs say: right means, right groups, and a word on every run that is left out."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from flowers_tl.compare import main
from flowers_tl.config.keys import LATER_KEYS
from flowers_tl.results.load_runs import find_runs, group_runs, mean_and_spread
from flowers_tl.results.terminal_tables import table_rows
from flowers_tl.utils.errors import UserError


@pytest.fixture
def write(tmp_path):
    """Write a run's folder by hand: a function of its name, strategy, seed and scores."""

    def make(
        name,
        strategy="fine_tuning",
        seed=0,
        val=0.9,
        test=0.8,
        loss=0.4,
        status="finished",
        lr=1e-3,
        epochs=3,
        fingerprint=None,
        **config,
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rows = [
            {"epoch": e, "train/loss": 2 - e / 2, "val/loss": loss + 2 - e, "val/accuracy": val} for e in range(epochs)
        ]
        with open(folder / "history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        own = {"name": strategy, "table": [{"stage": "head", "lr": lr}]}
        own["weights"] = "random" if fingerprint == "random" else "pretrained"
        settings = {"strategy": own, "data": {"root": name}, "seed": seed} | config
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        result = {
            "status": status,
            "seed": seed,
            "strategy": strategy,
            "epochs": epochs,
            "learning_rates": {"head": lr},
            "parameters": {"total": 1000, "trainable": 250},
            "val": {"accuracy": val, "loss": loss},
            "test": {"accuracy": test},
        } | ({"weights_fingerprint": fingerprint} if fingerprint else {})
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make


def rows(*folders):
    return table_rows(group_runs(find_runs(folders)[0])[0])


def test_one_run_has_no_spread(write):
    assert rows(write("a")) == [
        ("fine_tuning", "0", "250 (25 %)", "head 0.001", "90.0 %", "80.0 %", "0.400"),
    ]


def test_seeds_become_mean_and_sample_standard_deviation(write, tmp_path):
    for seed, accuracy in enumerate((0.80, 0.82, 0.87)):
        write(f"sweep/{seed}", seed=seed, val=accuracy)
    row = rows(tmp_path / "sweep")[0]
    assert row[1] == "0, 1, 2"
    assert row[4] == "83.0 ± 3.6 %"
    assert mean_and_spread(np.array([1.0, 3.0]), 2) == "2.00 ± 1.41"


def test_where_files_lie_does_not_separate_runs(write):
    assert len(rows(write("a", seed=0), write("b", seed=1))) == 1


def test_other_settings_are_other_rows_and_the_label_says_which(write):
    found = rows(write("a", lr=1e-3), write("b", lr=1e-2), write("c", strategy="other", lr=1e-2))
    assert [row[0] for row in found] == ["fine_tuning table.0.lr=0.001", "fine_tuning table.0.lr=0.01", "other"]
    found = rows(write("d", trainer={"max_epochs": 3}), write("e", trainer={"max_epochs": 5}))
    assert [row[0] for row in found] == ["fine_tuning trainer.max_epochs=3", "fine_tuning trainer.max_epochs=5"]


def test_a_seed_that_was_run_twice_counts_once(write):
    runs, _ = find_runs([write("older", val=0.1), write("newer", val=0.9)])
    groups, notes = group_runs(runs)
    assert groups[0].values("val", "accuracy").tolist() == [0.9]
    assert "older is left out" in notes[0]


def test_a_run_named_twice_is_read_once(write, tmp_path):
    folder = write("sweep/a")
    assert len(find_runs([folder, tmp_path / "sweep"])[0]) == 1


def test_weights_are_told_where_they_are_a_choice(write, tmp_path):
    """Not of from_scratch, which has none by nature, and which counts as one setting whatever file is named."""
    for seed, file in enumerate(("a.pth", "b.pth")):
        write(f"scratch{seed}", "scratch", seed, fingerprint="random", backbone={"weights": file})
    write("fine", "fine", fingerprint="1f", backbone={"weights": "a.pth"})
    groups, _ = group_runs(find_runs([tmp_path])[0])
    assert {group.label: len(group.runs) for group in groups} == {"scratch": 2, "fine": 1}
    write("other", "fine", fingerprint="2e", backbone={"weights": "b.pth"})
    groups, _ = group_runs(find_runs([tmp_path])[0])
    assert {g.label for g in groups} == {"scratch", "fine backbone.weights=a.pth@1f", "fine backbone.weights=b.pth@2e"}


def test_unfinished_and_broken_runs_are_left_out_with_a_word(write, tmp_path):
    write("good")
    write("bad", status="failed")
    (write("ugly") / "config.yaml").write_text("{")
    runs, notes = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert len(notes) == 2
    assert "its status is 'failed'" in " ".join(notes)
    assert "can't be read" in " ".join(notes)


@pytest.mark.parametrize("file", ["result.json", "config.yaml", "history.csv"])
@pytest.mark.parametrize("content", ["", "null", "[]", '"x"', "{}", "epoch,val/loss\n"])
def test_a_damaged_run_does_not_take_the_others_with_it(write, tmp_path, file, content):
    write("good")
    (write("ugly") / file).write_text(content)
    runs, notes = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert "ugly is left out: its files can't be read" in notes[0]


def test_what_was_not_measured_is_a_dash(write):
    folder = write("a")
    result = json.loads((folder / "result.json").read_text()) | {"test": {"accuracy": None}}
    (folder / "result.json").write_text(json.dumps(result))
    assert rows(folder)[0][4:] == ("90.0 %", "-", "0.400")


def test_epochs_without_validation_are_gaps(write, tmp_path):
    folder = write("a")
    (folder / "history.csv").write_text("epoch,train/loss,val/loss,val/accuracy\n0,2.0,,\n1,1.0,0.5,0.9\n")
    group = group_runs(find_runs([folder])[0])[0][0]
    assert np.isnan(group.curve("val/loss")[1]).tolist() == [True, False]
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
    colour = np.abs(image - np.array([0xD5, 0x5E, 0x00])).sum(-1) < 40  # the second group's, here the probe's
    assert colour[:, image.shape[1] // 3 :].any(axis=0).sum() > image.shape[1] // 5


def test_nothing_to_compare_is_an_error(write, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"is not a folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"None of these runs is finished.*'running'"):
        find_runs([write("a", status="running")])


def test_curves_are_means_over_seeds_as_far_as_all_have_them(write):
    group = group_runs(find_runs([write("a", seed=0, val=0.4), write("b", seed=1, val=0.6, epochs=2)])[0])[0][0]
    epochs, mean, spread = group.curve("val/accuracy")
    assert epochs.tolist() == [1, 2]
    assert mean.tolist() == pytest.approx([0.5, 0.5])
    assert spread.tolist() == pytest.approx([0.02**0.5, 0.02**0.5])


def test_the_command_prints_the_table_and_writes_it_with_the_curves(write, tmp_path, capsys):
    write("sweep/a")
    write("sweep/b", strategy="feature_extraction", test=0.7)
    main([str(tmp_path / "sweep")])
    printed = capsys.readouterr().out
    assert "80.0 %" in printed
    assert "70.0 %" in printed
    markdown = (tmp_path / "sweep" / "comparison.md").read_text()
    assert "| feature_extraction | 0 | 250 (25 %) | head 0.001 | 90.0 % | 70.0 % | 0.400 |" in markdown
    assert "(comparison.png)" in markdown
    image = Image.open(tmp_path / "sweep" / "comparison.png")
    assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 20  # lines were drawn, not only axes


def test_a_config_that_was_written_before_a_key_existed_has_it_at_its_default(write, tmp_path, monkeypatch):
    write("before", seed=0)
    write("same", seed=1, compute={"new": 4})
    write("other", seed=2, compute={"new": 5})
    assert [group.label for group in group_runs(find_runs([tmp_path])[0])[0]] == [
        "fine_tuning",
        "fine_tuning compute.new=4",
        "fine_tuning compute.new=5",
    ]
    monkeypatch.setitem(LATER_KEYS, "compute.new", 4)
    groups = group_runs(find_runs([tmp_path])[0])[0]
    assert {group.label: len(group.runs) for group in groups} == {
        "fine_tuning compute.new=4": 2,
        "fine_tuning compute.new=5": 1,
    }


@pytest.mark.parametrize(
    ("name", "key"),
    [("comparison.md", "out"), ("comparison.png", "out"), ("report.html", "report"), ("report.csv", "report")],
)
def test_only_an_earlier_comparison_is_overwritten(write, tmp_path, capsys, name, key):
    words = [str(write("a")), f"out={tmp_path / 'there'}", f"report={tmp_path / 'there'}"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / name).write_text("mine")
    with pytest.raises(SystemExit):
        main(words)
    assert f"{name} is there already, and this command did not write it: name another folder, {key}=DIR" in (
        capsys.readouterr().err
    )
    assert [(file.name, file.read_text()) for file in (tmp_path / "there").iterdir()] == [(name, "mine")]
    (tmp_path / "there" / name).unlink()
    main(words)
    main(words)  # its own may be


def test_out_names_the_folder(write, tmp_path):
    main([str(write("a")), f"out={tmp_path / 'there'}"])
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["comparison.md", "comparison.png"]


@pytest.mark.parametrize("arguments", [["nowhere"], ["out=x"]])
def test_bad_input_is_one_sentence_and_exit_code_1(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Error: ")
    assert errors.count("\n") == 1


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
        assert "diverged and is in no row and no mean (wild with seed 0): its val loss is nan." in text
        assert "diverged and is in no row and no mean (wild with seed 0): its val loss is inf." in text
        assert "diverged and is in no row and no mean (bold with seed 0): The run diverged: so." in text
        assert "wild has" not in text
    with pytest.raises(UserError, match=r"None of these runs is finished.*diverged"):
        find_runs([tmp_path / "NaN"])

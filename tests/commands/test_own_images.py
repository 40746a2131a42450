"""The whole tool on one's own images, as a user types it: train, sweep, compare, go on, evaluate, predict."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text().replace("\\\n", " ")

COUNTS = {"rose": 14, "aster, blue": 10, "poppy=red": 8}


@pytest.fixture
def own(photos):
    """Drawn photographs, and what every command on them says."""
    root = photos(COUNTS, "my photos, 2020=best")
    keys = ["data=folder", f"data.root='{root}'", "data.image_size=32", "backbone.weights=null", "trainer.max_epochs=2"]
    return root, [*keys, "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]


def results(folder) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("result.json"))]


@pytest.mark.slow
def test_the_whole_tool_works_on_them(run_command, own, tmp_path):
    root, keys = own
    (root / "rose" / "3.jpg").write_bytes(b"")
    trained = run_command("train", *keys, "strategy=fine_tuning", "hydra.run.dir=run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("Note: 1 of 32 images left out:") == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    sizes = {"train": 22, "val": 5, "test": 4}
    assert result["data"] == {
        "name": "folder",
        "root": str(root),
        **sizes,
        "cut": ["test", "val"],
        "left_out": ["rose/3.jpg"],
    }
    again = run_command("train", *keys, "strategy=fine_tuning", "runs=.", "hydra.run.dir=second", cwd=tmp_path)
    assert "Finished already: run" in again.stdout

    longer = ["trainer.max_epochs=3", "hydra.run.dir=run", "ckpt_path=last"]
    went_on = run_command("train", *[key for key in keys if "max_epochs" not in key], *longer, cwd=tmp_path)
    assert went_on.returncode == 0, went_on.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 3

    measured = run_command("evaluate", "ckpt=run", "split=val", "out=measured", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    asked = run_command("predict", f"images={root / 'poppy=red'}", "ckpt=run", "format=jsonl", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    assert len(answers) == 8
    assert {top["class"] for answer in answers for top in answer["top"]} == set(COUNTS)


@pytest.mark.slow
def test_sweeps_are_compared_where_they_are_comparable(run_command, own, tmp_path):
    _, keys = own
    swept = run_command(
        "train", "-m", *keys, "strategy=feature_extraction,linear_probe", "data.balance=none,weights", cwd=tmp_path
    )
    assert swept.returncode == 0, swept.stderr
    compared = run_command("compare", "outputs", "report=report", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "data.balance=weights" in (tmp_path / "outputs" / "comparison.md").read_text()
    shares = run_command("train", "-m", *keys, "data.val_fraction=0.1,0.3", "runs=shares", cwd=tmp_path)
    assert shares.returncode == 0, shares.stderr
    found = [result for result in results(tmp_path / "shares") if "val" in result]
    assert len({result["id"] for result in found}) == 2
    assert len({result["protocol"]["splits"]["test"] for result in found}) == 1
    refused = run_command("compare", "shares", cwd=tmp_path)
    assert refused.returncode == 1
    assert "other val images" in refused.stderr
    assert run_command("compare", "shares", "allow_mixed=true", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["data=folder"], "data=folder needs data.root=DIR"),
        (["data=folder", "data.root=nowhere"], "data.root=nowhere is no folder"),
        (["data=folder", "data.rot=x"], "There is no key 'data.rot': did you mean 'data.root'"),
        (["data=pets", "data.test_fraction=0.1"], "There is no key 'data.test_fraction'"),
        (["data=fodler"], "There is no data set 'fodler': did you mean 'folder'"),
    ],
)
def test_what_can_not_be_is_told_in_a_sentence(run_command, keys, sentence):
    refused = run_command("train", *keys)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: {sentence}"), refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_the_strategy_is_shown_for_them(run_command, own):
    root, keys = own
    shown = run_command("train", *keys, "print_strategy=true")
    assert shown.returncode == 0, shown.stderr
    assert "1,539" in shown.stdout  # a head for three classes
    assert f"Classes in {root}\n" in shown.stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if "│" in line]
    counts = {row[0]: row[1:] for row in rows if len(row) == 4 and all(cell.isdecimal() for cell in row[1:])}
    for folder in (folder for folder in root.iterdir() if folder.is_dir()):
        assert sum(map(int, counts[folder.name])) == len([*folder.iterdir()])
    assert "3 classes" in counts


@pytest.mark.parametrize("command", re.findall(r"^python -m flowers_tl\.train (.*?)(?: +#.*)?$", DOCS, re.MULTILINE))
def test_what_the_docs_say_can_be_typed(config, command):
    overrides = [word for word in shlex.split(command) if word != "-m"]
    assert config([re.sub(r"=([\w.]+),.*", r"=\1", word) for word in overrides])["data"]["name"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_names_of_any_bytes_pass_through_a_terminal_of_ascii(run_command, own, tmp_path):
    root, keys = own
    os.rename(os.fsencode(root / "rose"), os.fsencode(root) + b"/caf\xe9")
    (root / "poppy=red").rename(root / "玫瑰")
    os.rename(os.fsencode(root / "玫瑰" / "0.jpg"), os.fsencode(root / "玫瑰") + b"/caf\xe9.jpg")
    terminal = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (
        ["train", *keys, "backbone=squeezenet1_1", "hydra.run.dir=run"],
        ["evaluate", "ckpt=run", "split=all", "out=measured", f"data.root='{root}'"],
        ["predict", "ckpt=run", f"images={root}", "format=jsonl"],
    ):
        done = run_command(*words, cwd=tmp_path, **terminal)
        assert done.returncode == 0, done.stderr
    names = {"aster, blue", "caf\\xe9", "玫瑰"}
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {top["class"] for answer in answers for top in answer["top"]} == names
    table = (tmp_path / "measured" / "classes.csv").read_text(encoding="utf-8")
    assert all(name in table for name in names)
    # The same images as in any other terminal.
    again = run_command("train", *keys, "backbone=squeezenet1_1", "runs=.", "hydra.run.dir=second", cwd=tmp_path)
    assert "Finished already: run" in again.stdout, again.stderr

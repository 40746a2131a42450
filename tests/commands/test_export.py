"""The command says what it exported and how well it agrees; bad input is one sentence."""

import pytest

from flowers_tl.export import main
from flowers_tl.exporting.formats import FORMATS

pytest.importorskip("onnxruntime", reason="needs pip install '.[export]' in a checkout of the project")
FILES = [one.file for one in FORMATS.values()]


def test_the_command_says_in_a_few_lines_what_it_did(run_command, run_folder, tmp_path):
    done = run_command("export", f"ckpt={run_folder}", f"out={tmp_path / 'a=b, c'}")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == FILES
    assert all("same class first on 6 of 6 images" in line for line in lines[:3])
    assert "6 val images of synthetic" in lines[3]
    assert len(lines) == 5
    assert done.stderr == ""
    assert (tmp_path / "a=b, c" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out={tmp}/o"], "ckpt is missing: ckpt=PATH"),
        (["ckpt={run}"], "out is missing: out=PATH"),
        (["ckpt=nowhere", "out={tmp}/o"], "ckpt=nowhere is not there"),
        (["ckpt={run}", "out={tmp}/o", "formats=onx"], "did you mean 'onnx'"),
        (["ckpt={run}", "out={tmp}/o", "images=none.jpg"], "images=none.jpg is no file"),
        (["ckpt={run}", "out={tmp}"], "is there already"),
        (["ckpt={run}", "out={tmp}/o", "format=onnx"], "did you mean 'formats'"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, run_folder, tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit) as end:
        main([word.replace("{run}", str(run_folder)).replace("{tmp}", str(tmp_path)) for word in words])
    assert end.value.code == 1
    text = capsys.readouterr().err
    assert sentence in text
    assert text.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]

"""Runs are compared as a user does it: table, curves, and files that are nobody else's."""

import pytest
from PIL import Image

from flowers_tl.compare import main


def test_the_command_prints_the_table_and_writes_it_with_the_curves(write, tmp_path, capsys):
    write("sweep/a")
    write("sweep/b", strategy="feature_extraction", val=0.92, test=0.7)
    main([str(tmp_path / "sweep")])
    printed = capsys.readouterr().out
    assert "80.0 %" in printed
    assert "70.0 %" in printed
    markdown = (tmp_path / "sweep" / "comparison.md").read_text()
    assert "| feature_extraction | 0 | 250 (25 %) | head 0.001 | 92.0 % | 70.0 % | 0.400 |" in markdown
    assert "(comparison.png)" in markdown
    assert printed.splitlines()[-1] == f"Report: {tmp_path / 'sweep' / 'report' / 'report.html'}"
    # The mark stands below the name of the best by validation accuracy, though the other is the better one on test.
    above = printed.split("  best on val")
    assert len(above) == 2
    assert above[0].rfind("feature_extraction") > above[0].rfind("fine_tuning")
    image = Image.open(tmp_path / "sweep" / "comparison.png")
    assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 20  # lines were drawn, not only axes


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
    assert f"{name} is there already, and this command did not write it: use another folder with {key}=DIR" in (
        capsys.readouterr().err
    )
    assert [(file.name, file.read_text()) for file in (tmp_path / "there").iterdir()] == [(name, "mine")]
    (tmp_path / "there" / name).unlink()
    main(words)
    main(words)  # its own may be


def test_out_names_the_folder(write, tmp_path):
    main([str(write("a")), f"out={tmp_path / 'there'}"])
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["comparison.md", "comparison.png", "report"]
    assert (tmp_path / "there" / "report" / "report.html").is_file()
    assert not (tmp_path / "a" / "report").exists()


def test_figures_are_written_beside_the_comparison(write, tmp_path):
    words = [str(write("a")), f"out={tmp_path / 'there'}", "figures=svg,pdf"]
    main(words)
    names = {"accuracy", "cost_parameters", "curves"}
    files = {f"{name}.{kind}" for name in names for kind in ("svg", "pdf")}
    assert {path.name for path in (tmp_path / "there").iterdir()} == {
        "comparison.md",
        "comparison.png",
        "report",
    } | files


@pytest.mark.parametrize("arguments", [["nowhere"], ["out=x"], ["figures=jpg", "."]])
def test_bad_input_is_one_sentence_and_exit_code_1(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Error: ")
    assert errors.count("\n") == 1

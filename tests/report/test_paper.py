"""What a paper takes from a report: a table that LaTeX reads, BibTeX entries of what was used, and numbers by run and class."""

import csv
import json
import re

import numpy as np
import pytest
from written_runs import TRUTH, logits_of

from flowers_tl.config.backbones import NETWORKS
from flowers_tl.config.schema import CONF
from flowers_tl.data.torchvision_sets import TABLE
from flowers_tl.report import FILES, summarize, write_report
from flowers_tl.report.paper import cite

WRONG = (TRUTH + 1) % 3


@pytest.fixture
def files(run, groups, tmp_path):
    """The files of a report of two strategies with two seeds; the second is worse, and its name is hard for LaTeX."""
    for seed in range(2):
        config = {"backbone": {"name": "resnet18"}, "optimizer": {"name": "adam"}, "data": {"name": "flowers"}}
        best = run(f"best{seed}", strategy="gradual_unfreezing", seed=seed, val=0.9 + seed / 100, **config)
        run(f"other{seed}", strategy="a_b & 50% {c}", seed=seed, val=0.5, logits=logits_of(WRONG), **config)
        result = json.loads((best / "result.json").read_text())
        words = ["strategy=gradual_unfreezing", "data.root=/home/me/my photos", f"seed={seed}"]
        result |= {
            "command": words,
            "device": "cpu",
            "flops": {"forward": 10, "training": 2_000_000},
            "peak_memory_gb": 1.5,
        }
        result["seconds"]["cold"] = 30.0
        (best / "result.json").write_text(json.dumps(result))
    write_report(summarize(groups()), tmp_path / "report")
    assert {file.name for file in (tmp_path / "report").iterdir()} == set(FILES)
    return {name: (tmp_path / "report" / name).read_text() for name in FILES}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_table_has_a_row_a_strategy_and_escapes_names(files):
    tex = files["report.tex"]
    body = tex.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    best, other = (re.split(r" (?<!\\\\)& ", line.strip().removesuffix(r" \\")) for line in body)
    assert best[:4] == [r"\textbf{gradual\_unfreezing}", "2", "250", r"90.5 $\pm$ 0.7"]
    assert best[4] == r"100.0 $\pm$ 0.0"
    assert re.fullmatch(r"\d+\.\d to 100\.0", best[5])
    assert best[6:] == ["2.00e+06", "0.0111"]
    assert other[0] == r"a\_b \& 50\% \{c\}$^\dagger$"
    assert other[6] == "--"
    assert all(len(line) == 8 for line in (best, other))
    # Braces and environments are in balance, and nothing but the marks of the table is left unescaped.
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert len(re.findall(r"(?<!\\)\{", code)) == len(re.findall(r"(?<!\\)\}", code))
    assert sorted(re.findall(r"\\begin\{(\w+)\}", code)) == sorted(re.findall(r"\\end\{(\w+)\}", code))
    assert code.replace(r"\%", "").count("%") == 0


def test_the_commands_of_the_runs_are_there_without_folders_of_this_machine(files):
    commands = [
        f"python -m flowers_tl.train strategy=gradual_unfreezing data.root=my photos seed={k}" for k in range(2)
    ]
    assert re.findall("^% (python .*)$", files["report.tex"], re.MULTILINE) == commands
    assert [row["command"] for row in rows(files["per_run.csv"])] == [*commands, "", ""]


def test_by_run_there_are_scores_seconds_and_flops(files):
    first, second, third, _ = rows(files["per_run.csv"])
    assert (first["strategy"], first["seed"], second["seed"]) == ("gradual_unfreezing", "0", "1")
    assert (second["val_accuracy"], second["test_accuracy"], second["seconds"]) == ("0.91", "1.0", "20.0")
    assert (first["forward_flops"], first["training_flops"], first["device"]) == ("10", "2000000", "cpu")
    assert (first["cold_seconds"], first["peak_memory_gb"]) == ("30.0", "1.5")
    assert (third["training_flops"], third["test_accuracy"]) == ("", "0.0")
    assert (third["cold_seconds"], third["peak_memory_gb"]) == ("", "")


def test_by_class_there_are_images_and_accuracy_over_seeds(run, groups, tmp_path):
    answers = [TRUTH.copy(), TRUTH.copy()]
    answers[1][:2] = 1  # two of four daisies
    for seed, answer in enumerate(answers):
        run(f"{seed}", seed=seed, logits=logits_of(answer))
    write_report(summarize(groups()), tmp_path / "report")
    daisy, rose, tulip = rows((tmp_path / "report" / "per_class.csv").read_text())
    assert (daisy["strategy"], daisy["class"], daisy["images"]) == ("fine_tuning", "daisy", "4")
    assert float(daisy["accuracy_mean"]) == 0.75
    assert float(daisy["accuracy_sd"]) == pytest.approx(np.std([1, 0.5], ddof=1), abs=1e-6)
    assert [(row["class"], row["images"], row["accuracy_sd"]) for row in (rose, tulip)] == [
        ("rose", "2", "0.0"),
        ("tulip", "4", "0.0"),
    ]


def test_only_what_was_used_is_cited(files):
    assert re.findall(r"^@\w+\{(.*),$", files["references.bib"], re.MULTILINE) == [
        "howard2018universal",
        "he2016deep",
        "nilsback2008automated",
        "kingma2015adam",
    ]


def test_each_choice_with_a_paper_has_its_entry():
    names = {*NETWORKS, *TABLE, *(file.stem for file in CONF.glob("*/*.yaml"))}
    without = {
        "from_scratch",
        "synthetic",
        "folder",
        "manifest",
        "sgd",
        "constant",
        "none",
        "early_stopping",
        "article",
        "checked",
        "parallel",
    }
    without |= {file.stem for folder in ("sweep", "hydra/launcher") for file in (CONF / folder).glob("*.yaml")}
    for name in names - without:
        bib = cite([name])
        assert bib.count("@") >= 1, name
        assert bib.count("{") == bib.count("}")
        for entry in bib.split("@")[1:]:
            assert {"title", "author", "year"} <= set(re.findall(r"^  (\w+) = ", entry, re.MULTILINE))

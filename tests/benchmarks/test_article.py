"""The article's runs are made once and go on, and its claims and accuracies are judged by the written rule."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import article, article_summary, measure
from benchmarks.article import STRATEGIES, VARIANTS, Job, list_jobs, train_command
from benchmarks.article_summary import CLAIMS, answer, check_accuracies, find_groups, report, summarize
from flowers_tl.config.compose import compose_config
from flowers_tl.training.run_once import train_once

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "benchmarks" / "2026-11-26_article.json"
FIRST = CLAIMS[0]


@pytest.fixture
def here(monkeypatch):
    """Runs in this process, which is quicker; a list of the commands that were started."""
    started = []

    def run(command, log):
        started.append(command[1:])
        config = compose_config([word for word in command[1:] if not word.startswith("hydra.")])
        return train_once(config, Path(command[-1].removeprefix("hydra.run.dir="))), ""

    monkeypatch.setattr(measure, "run", run)
    return started


def words(tiny, resnet18_weights, out, *more, seeds="0,1"):
    given = [word for word in tiny() if not word.startswith("backbone.")]
    return [f"weights={resnet18_weights}", f"seeds={seeds}", f"out={out}", *given, *more]


def rows_of(strategy, accuracies, mode="train", images=2000):
    """Finished runs, a seed each, whose hits have these accuracies; those of one seed agree as far as they can."""
    rows = []
    for seed, accuracy in enumerate(accuracies):
        order = np.random.default_rng(seed).permutation(images)
        hits = base64.b64encode(np.packbits(order < round(accuracy * images))).decode()
        scores = {"accuracy": accuracy, "loss": 0.5}
        row = {"variant": strategy, "frozen_batchnorm": mode, "seed": seed, "images": images, "hits": hits}
        rows.append(row | {"weights": "w.pth", "val": scores, "test": scores, "parameters": {"trainable": 5}})
    return rows


def groups(better, worse):
    rows = [
        row
        for side, accuracies in ((FIRST.better, better), (FIRST.worse, worse))
        for row in rows_of(side[0], accuracies)
    ]
    return find_groups({"runs": rows}, "dir/w.pth")


def test_the_two_strategies_are_run_and_summarized_and_run_only_once(tiny, resnet18_weights, tmp_path, here, capsys):
    given = words(tiny, resnet18_weights, tmp_path / "a", "claims=false", "check=true")
    with pytest.raises(SystemExit) as stop:
        article.main(given)
    # Three species of drawn flowers, and weights that know nothing.
    assert stop.value.code == 1
    data = json.loads((tmp_path / "a" / "article.json").read_text())
    assert [(row["variant"], row["seed"]) for row in data["runs"]] == [(name, s) for name in STRATEGIES for s in (0, 1)]
    assert [row["parameters"]["trainable"] for row in data["runs"][::2]] == [1539, 8395267]
    assert all(len(row["history"]["val/loss"]) == 2 and len(article_summary.hits(row)) == 9 for row in data["runs"])
    for row in data["runs"]:
        assert article_summary.hits(row).mean() == pytest.approx(row["test"]["accuracy"], abs=1e-5)
    view = data["imagenet"]["drawn.pth"]
    assert view["images"] == 6
    assert sum(view["top1"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(view["top5"].values()) == pytest.approx(5, abs=1e-3)
    assert len(view["by_class"]) == 3
    page = (tmp_path / "a" / "article.md").read_text()
    assert "| feature_extraction | train | 0, 1 | 1,539 |" in page
    assert (tmp_path / "a" / "article.png").stat().st_size > 10_000

    records = {file: file.stat().st_mtime_ns for file in (tmp_path / "a" / "runs").rglob("result.json")}
    assert len(records) == 4
    with pytest.raises(SystemExit):
        article.main(given)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "a" / "runs").rglob("result.json")} == records
    assert json.loads((tmp_path / "a" / "article.json").read_text())["runs"] == data["runs"]
    capsys.readouterr()
    article_summary.main([str(tmp_path / "a" / "article.json")])
    assert capsys.readouterr().out == page.split("\n\nThe article's accuracies")[0] + "\n"


def test_a_run_that_fails_costs_only_itself_and_is_told(tiny, resnet18_weights, tmp_path, monkeypatch, capsys, here):
    good = measure.run

    def run(command, log):
        if "seed=1" in command:
            raise article.UserError("It broke.")
        return good(command, log)

    monkeypatch.setattr(measure, "run", run)
    with pytest.raises(SystemExit):
        article.main(words(tiny, resnet18_weights, tmp_path / "a", "claims=false"))
    assert "2 of 4 runs failed; feature_extraction_drawn_train_seed1: It broke; see " in capsys.readouterr().err
    assert [row["seed"] for row in json.loads((tmp_path / "a" / "article.json").read_text())["runs"]] == [0, 0]


def test_a_folder_of_other_settings_is_refused(tiny, resnet18_weights, tmp_path, capsys, here):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "article.json").write_text('{"overrides": ["other=1"], "runs": []}')
    with pytest.raises(SystemExit):
        article.main(words(tiny, resnet18_weights, tmp_path / "a"))
    assert "article.json is there already" in capsys.readouterr().err
    assert not here


@pytest.mark.slow
def test_what_was_killed_goes_on(tiny, resnet18_weights, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.article",
        *words(tiny, resnet18_weights, tmp_path / "a", "claims=false", "jobs=2"),
    ]
    file = tmp_path / "a" / "article.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = json.loads(file.read_text())["runs"]
    assert 0 < len(before) < 4
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    after = json.loads(file.read_text())["runs"]
    assert len(after) == 4
    # What was finished was not run again: not even its seconds changed.
    assert all(row in after for row in before)


def test_the_most_important_runs_come_first_and_random_weights_are_trained_once():
    jobs = list_jobs(["a.pth", "b.pth"], [0, 1, 2], claims=True)
    assert [job[:3] for job in jobs[::3]][:4] == [(s, w, "train") for w in ("a.pth", "b.pth") for s in STRATEGIES]
    assert len(jobs) == 3 * (4 + len(VARIANTS) + 4) == len({job.name for job in jobs})
    assert [job.weights for job in jobs if job.variant == "from_scratch"] == ["random"] * 3
    assert list_jobs(["a.pth", "b.pth"], [0, 1, 2], claims=False) == jobs[:12]


@pytest.mark.parametrize(
    ("variant", "rates"),
    {
        "feature_extraction": {"head": 1e-3},
        "fine_tuning": {"layer4": 1e-4, "head": 1e-3},
        "one rate of 1e-3": {"layer4": 1e-3, "head": 1e-3},
        "one rate of 1e-4": {"layer4": 1e-4, "head": 1e-4},
        "from_scratch": {"stem-head": 1e-3},
        "all layers": {"stem-neck": 1e-4, "head": 1e-3},
    }.items(),
)
def test_each_variant_is_what_its_name_says(variant, rates):
    from flowers_tl.training.factory import make_model

    command = train_command(Job(variant, "a.pth", "train", 2), Path("runs"), ["trainer.max_epochs=3"])
    config = compose_config([word for word in command[1:] if not word.startswith("hydra.")])
    model = make_model(config, 102)
    assert {group.name: group.lr for group, _ in model.parameters_by_group()} == rates
    assert (config["seed"], config["trainer"]["max_epochs"], config["runs"]) == (2, 3, "runs")
    assert config["strategy"]["frozen_batchnorm"] == "train"
    assert config["strategy"]["weights"] == ("random" if variant == "from_scratch" else "pretrained")


def test_a_claim_holds_does_not_hold_or_is_not_decided():
    high, low = (0.902, 0.9, 0.904), (0.84, 0.838, 0.842)
    text, decision, numbers, seeds = answer(FIRST, groups(high, low))
    assert (text, decision, numbers[:5], seeds) == (FIRST.text, "**holds**", "6.2 (", "0, 1, 2")
    assert answer(FIRST, groups(low, high))[1] == "**does not hold**"
    assert answer(FIRST, groups(high, (0.9, 0.903, 0.901)))[1] == "**not decided**"
    # One seed decides nothing, and a group that is missing says so.
    assert answer(FIRST, groups(high[:1], low[:1]))[1] == "**not decided**"
    assert answer(FIRST, groups(high, ()))[1:] == ("not measured", "", "")


def test_runs_are_paired_by_seed():
    all_seeds = groups((0.902, 0.9, 0.904), (0.84, 0.838, 0.842))
    all_seeds[FIRST.better] = all_seeds[FIRST.better][1:]
    assert answer(FIRST, all_seeds)[3] == "1, 2"


@pytest.mark.parametrize(("shift", "met"), [(0, True), (0.004, True), (-0.004, True), (0.02, False), (-0.02, False)])
def test_the_tolerance_is_the_prediction_interval_of_the_seeds(shift, met):
    # Standard deviation 0.1 points over three seeds: t = 4.30 times it times sqrt(4/3) is 0.5 points, and 0.05 of rounding.
    values = [0.857 + shift + step for step in (-0.001, 0, 0.001)]
    (val, good), (_, test_good), *others = check_accuracies({("feature_extraction", "train"): rows_of("x", values)})
    assert "tolerance 0.5): " in val
    assert val.endswith("not met" if not met else ": met")
    # The same values are 2 points above the article's test accuracy.
    assert (good, test_good) == (met, shift == -0.02)
    assert [line.split("; ")[1] for line, _ in others] == ["not checked, which takes two seeds"] * 2
    assert not any(good for _, good in others)


def test_a_wide_spread_meets_nothing_far_away():
    wide = check_accuracies({("feature_extraction", "train"): rows_of("x", (0.6, 0.8, 1.0))})
    assert "tolerance 3.0): not met" in wide[0][0]


def test_the_table_has_the_article_beside_ours():
    data = {"runs": rows_of("fine_tuning", (0.9, 0.91, 0.92)), "weights": ["w.pth"], "imagenet": {}}
    rows = summarize(data)[2:6]
    assert rows[2] == "| fine_tuning, the article |  |  | 8,446,054 | 92.5 % | 90.2 % | 0.3378 |"
    assert "| 91.0 ± 1.0 % (\N{MINUS SIGN}1.5) | 91.0 ± 1.0 % (+0.8) | 0.5000 ± 0.0000 |" in rows[3]


def test_readme_and_results_show_what_follows_from_the_measured_runs(capsys):
    data = json.loads(MEASURED.read_text())
    for row in data["runs"]:
        assert article_summary.hits(row).mean() == pytest.approx(row["test"]["accuracy"], abs=1e-6)
    assert report(data, None, None, check=True) == 1
    printed = capsys.readouterr().out.splitlines()
    measured = {
        line for line in printed if line and "not measured" not in line and not line.endswith((".pth", ".pth:"))
    }
    readme, results = (
        (ROOT / name).read_text().split("## The article, measured again")[1].split("\n## ")[0]
        for name in ("README.md", "docs/results.md")
    )
    for text, fewest in ((readme, 14), (results, len(measured))):
        shown = {line for line in text.splitlines() if line.startswith("|")}
        assert shown <= set(printed)
        # A sentence may run over two lines.
        assert len({line for line in measured if " ".join(line.split()) in " ".join(text.split())}) >= fewest
    assert all(claim.text in readme for claim in CLAIMS if "BatchNorm" not in claim.text)


def test_weights_without_a_head_are_measured_and_rows_of_earlier_weights_stay(tiny, resnet18_weights, tmp_path, here):
    bare = {name: value for name, value in torch.load(resnet18_weights).items() if not name.startswith("fc.")}
    torch.save(bare, tmp_path / "bare.pth")
    for file in (tmp_path / "bare.pth", resnet18_weights):
        article.main(words(tiny, file, tmp_path / "a", "claims=false", seeds="0"))
    data = json.loads((tmp_path / "a" / "article.json").read_text())
    assert data["weights"] == [str(resnet18_weights), str(tmp_path / "bare.pth")]
    assert [row["weights"] for row in data["runs"]] == ["bare.pth"] * 2 + ["drawn.pth"] * 2
    assert data["imagenet"]["bare.pth"] is None
    assert data["imagenet"]["drawn.pth"]["images"] == 6
    assert data["runs"][0]["machine"] == data["machine"]
    page = (tmp_path / "a" / "article.md").read_text()
    assert "## bare.pth" in page
    assert "## drawn.pth" in page


def test_a_file_that_is_no_article_json_is_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"runs": []}')
    with pytest.raises(SystemExit):
        article_summary.main([str(tmp_path / "other.json")])
    assert f"{tmp_path / 'other.json'} can't be read as what benchmarks.article writes" in capsys.readouterr().err


def test_two_weights_of_one_name_are_refused_before_a_run_takes_the_other_ones_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        article.main([f"weights={tmp_path / 'a' / 'w.pth'},{tmp_path / 'b' / 'w.pth'}", f"out={tmp_path / 'out'}"])
    assert "names two files of one name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""The search: its space, its proposals, what it does to trials that fail, fall behind or are interrupted."""

import json
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from flowers_tl.data.registry import make_data
from flowers_tl.search import main
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

pytestmark = pytest.mark.skipif(
    not find_spec("optuna"), reason="needs Optuna: pip install '.[search]' in a checkout of the project"
)
RATE = "strategy.table.0.lr=tag(log,interval(1e-5,1e-1))"


def test_without_optuna_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "flowers_tl.tuning.study", raising=False)
    with pytest.raises(SystemExit):
        main(["seed=0,1", f"folder={tmp_path / 's'}"])
    assert (
        capsys.readouterr().err
        == "Error: A search needs Optuna: pip install '.[search]' in a checkout of the project.\n"
    )


def test_help_is_quick():
    code = "import sys; sys.argv[1:] = ['--help']; import atexit; atexit.register(lambda: print(*sys.modules))\n"
    code += "from flowers_tl.search import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "confirm_seeds=" in process.stdout
    assert not {"torch", "optuna", "lightning"} & set(process.stdout.split())


def test_a_flag_of_version_0_1_is_explained(capsys):
    for words, sentence in (
        (["--trials", "20"], "use trials=20 instead of --trials"),
        (["--no-pruning"], "use pruning=false instead of --no-pruning"),
        (["--confirm-seeds=2"], "use confirm_seeds=2 instead of --confirm-seeds"),
        (["--seed", "1"], "There is no option '--seed': did you mean 'search_seed'?"),
    ):
        with pytest.raises(SystemExit):
            main(["seed=0,1", *words])
        assert sentence in capsys.readouterr().err


@pytest.fixture
def spoiled(config, tiny, tmp_path):
    """Overrides for drawn flowers whose test images are so in name only: to decode one fails."""
    keys = tiny(**MORE, data__root=tmp_path / "data", cache__dir=tmp_path / "cache", runs=tmp_path / "runs")
    data = make_data(config(keys))
    data.prepare_data()
    data.setup()
    for file in data.images["test"].files:
        file.write_bytes(b"no picture")
    return keys


MORE = dict(data__train_per_class=20, data__val_per_class=20, trainer__max_epochs=6, proof="false")


def test_the_better_value_is_found_without_a_look_at_test(spoiled, config, tmp_path, capsys):
    main([*spoiled, "strategy.table.0.lr=1e-9,1e-2", f"folder={tmp_path / 's'}"])
    assert capsys.readouterr().out.endswith("strategy.table.0.lr=0.01\n")
    results = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("s/trials/*/result.json"))]
    assert [result["test"]["accuracy"] for result in results] == [None, None]
    assert results[0]["val"]["accuracy"] < results[1]["val"]["accuracy"]
    with pytest.raises(UserError, match="can't be read as an image"):  # a run that is tested does look
        train(config(spoiled), tmp_path / "run")


def test_nor_is_there_a_look_at_test_where_nothing_is_frozen(spoiled, config, tmp_path):
    keys = [*spoiled, "strategy=full_fine_tuning", "backbone=squeezenet1_1", "trainer.max_epochs=1"]
    main([*keys, "seed=0,1", f"folder={tmp_path / 's'}"])
    with pytest.raises(UserError, match="can't be read as an image"):
        train(config(keys), tmp_path / "run")


def test_a_hopeless_trial_is_pruned(tiny, tmp_path, capsys):
    command = [*tiny(**MORE), "strategy.table.0.lr=0.01,0.011,0.009,0.008,1e-9"]
    main([*command, f"folder={tmp_path / 's'}"])
    printed = capsys.readouterr()
    assert "trial 4: strategy.table.0.lr=1e-09: pruned at" in printed.out
    assert "1 trials were pruned, 0 failed" in printed.out
    assert printed.err == ""
    result = json.loads((tmp_path / "s" / "trials" / "004" / "result.json").read_text())
    assert result["status"] == "pruned"
    assert "`pruned`" in (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    assert re.match(r"after epoch [2-5] val accuracy .* was worse than the other trials' median", result["error"])


def test_the_best_is_confirmed_with_other_seeds_and_tested(tiny, tmp_path, capsys):
    command = [*tiny(runs=tmp_path / "runs"), "optimizer.weight_decay=0,0.1", f"folder={tmp_path / 's'}"]
    main([*command, "confirm_seeds=2"])
    printed = capsys.readouterr().out
    results = [json.loads((tmp_path / f"s/confirm/seed{seed}/result.json").read_text()) for seed in (1, 2)]
    assert [result["seed"] for result in results] == [1, 2]
    mean = 100 * statistics.mean(result["test"]["accuracy"] for result in results)
    assert f"test accuracy {mean:.1f} ±" in printed.splitlines()[-1]
    main([*command, "confirm_seeds=2"])  # nothing is run again
    assert capsys.readouterr().out.splitlines()[-1] == printed.splitlines()[-1]
    again = [json.loads((tmp_path / f"s/confirm/seed{seed}/result.json").read_text()) for seed in (1, 2)]
    assert again == results


@pytest.mark.slow
def test_a_killed_search_goes_on_and_compare_reads_it(run_command, tiny, tmp_path):
    keys = tiny(trainer__max_epochs=30)
    arguments = [*keys, RATE, "trials=3", f"folder={tmp_path / 's'}"]
    process = subprocess.Popen([sys.executable, "-m", "flowers_tl.search", *arguments], stdout=subprocess.DEVNULL)
    deadline = time.time() + 100
    while not (tmp_path / "s" / "trials" / "001" / "history.csv").exists() and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    trials = tmp_path / "s" / "trials"
    first = (trials / "000" / "result.json").read_text()
    assert json.loads((trials / "001" / "result.json").read_text())["status"] == "running"
    process = run_command("search", *arguments)
    assert process.returncode == 0, process.stderr
    assert (trials / "000" / "result.json").read_text() == first
    configs = [yaml.safe_load((trials / name / "config.yaml").read_text()) for name in ("001", "002")]
    assert configs[0] == configs[1]
    assert len(list(trials.iterdir())) == 4
    assert "Best of 3 whole trials" in process.stdout
    best = shlex.split(process.stdout.split("To train with the best settings: ")[1])
    assert best[:-1] == ["python", "-m", "flowers_tl.train", *keys]
    assert best[-1].startswith("strategy.table.0.lr=")
    compared = run_command("compare", str(tmp_path / "s"))
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.count("is left out") == 1

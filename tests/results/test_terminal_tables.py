"""The tables of the terminal: what stands in a row, and what was not measured."""

import json

import numpy as np

from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.scores import mean_and_spread
from flowers_tl.results.terminal_tables import comparison_table, print_comparison


def rows(*folders):
    return comparison_table(group_runs(find_runs(folders)[0])[0])[1]


def test_one_run_has_no_spread(write):
    assert rows(write("a")) == [
        ["fine_tuning", "0", "250 (25 %)", "head 0.001", "90.0 %", "80.0 %", "0.400"],
    ]


def test_seeds_become_mean_and_sample_standard_deviation(write, tmp_path):
    for seed, accuracy in enumerate((0.80, 0.82, 0.87)):
        write(f"sweep/{seed}", seed=seed, val=accuracy)
    row = rows(tmp_path / "sweep")[0]
    assert row[1] == "0, 1, 2"
    assert row[4] == "83.0 ± 3.6 %"
    assert mean_and_spread(np.array([1.0, 3.0]), 2) == "2.00 ± 1.41"
    assert mean_and_spread(np.array([1234.5]), 1) == "1,234.5"


def test_other_settings_are_other_rows_and_the_label_says_which(write):
    found = rows(write("a", lr=1e-3), write("b", lr=1e-2), write("c", strategy="other", lr=1e-2))
    assert [row[0] for row in found] == ["fine_tuning table.0.lr=0.001", "fine_tuning table.0.lr=0.01", "other"]
    found = rows(write("d", trainer={"max_epochs": 3}), write("e", trainer={"max_epochs": 5}))
    assert [row[0] for row in found] == ["fine_tuning trainer.max_epochs=3", "fine_tuning trainer.max_epochs=5"]


def test_what_was_not_measured_is_a_dash(write):
    folder = write("a")
    result = json.loads((folder / "result.json").read_text()) | {"test": {"accuracy": None}}
    (folder / "result.json").write_text(json.dumps(result))
    assert rows(folder)[0][4:] == ["90.0 %", "-", "0.400"]


def test_the_table_of_a_comparison_has_no_empty_lines_and_no_blanks_at_the_ends(write, caplog):
    caplog.set_level("INFO", logger="flowers_tl")
    folders = [write(f"run{seed}", seed=seed) for seed in range(2)]
    print_comparison(group_runs(find_runs(folders)[0])[0])
    lines = caplog.messages[-1].splitlines()
    assert len(lines) > 4
    assert all(line and line == line.rstrip() for line in lines)

"""Gains and losses by class, confused pairs and the surest mistakes are those that were planted."""

import json
import re

import numpy as np
from report_pages import planted, rows, section, words
from written_runs import TRUTH, logits_of


def test_by_species_the_best_stands_against_the_one_that_learns_least(run, report):
    run("a", strategy="best", val=0.9, trainable=300)
    run("b", strategy="next", val=0.8, trainable=200)
    run("c", strategy="least", val=0.7, trainable=100)
    assert re.findall("<option.*?selected>(.*?)<", report()[0]) == ["best", "least"]
    run("d", strategy="small_and_best", val=0.95, trainable=50)
    assert re.findall("<option.*?selected>(.*?)<", report()[0]) == ["small_and_best", "best"]


def test_species_gain_and_lose_as_counted(run, report):
    planted(run)
    page, _, _ = report()
    species = section(page, "classes")
    assert rows(species) == [
        ["tulip", "4", "87.5 %", "25.0 %", "62.5"],
        ["daisy", "4", "100.0 %", "100.0 %", "0.0"],
        ["rose", "2", "50.0 %", "50.0 %", "0.0"],
    ]
    assert words(re.search(r'<ol id="gains">.*?</ol>', species)[0]) == "tulip +62.5 points 25.0 to 87.5 %, 4 images"
    assert '<ol id="losses"></ol>' in species
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert data["classes"]["accuracies"] == {"0": [1.0, 0.5, 0.875], "1": [1.0, 0.5, 0.25]}


def test_confused_pairs_and_worst_mistakes_are_those_planted(run, report):
    first, second = logits_of(TRUTH), logits_of(TRUTH)
    first[9] = [8, 0, 0]  # tulips taken for daisies: one surely in both seeds, one less so in one
    second[9] = [9, 0, 0]
    second[8] = [9, 0, 0]
    first[4] = second[4] = [3, 2, 0]  # a rose taken for a daisy
    run("a", seed=0, logits=first)
    run("b", seed=1, logits=second)
    page, _, _ = report()
    pairs = [words(text) for text in re.findall(r"<figure.*?</figure>", section(page, "confused"))]
    assert pairs == [
        "image_6.jpg tulip 1.5 of 4 predicted as daisy image_0.jpg daisy 0 of 4 predicted as tulip",
        "image_5.jpg rose 1 of 2 predicted as daisy image_0.jpg daisy 0 of 4 predicted as rose",
    ]
    found = [words(text) for text in re.findall(r"<figcaption>(.*?)</figcaption>", section(page, "mistakes"))]
    share = np.exp(9) / (np.exp(9) + 2)
    # Mistakes are those of single runs: the second one is made by one seed only.
    assert found[0] == f"predicted daisy true tulip confidence {100 * share:.1f} % (seed 1), wrong in 2 of 2 seeds"
    assert found[1] == f"predicted daisy true tulip confidence {100 * share:.1f} % (seed 1), wrong in 1 of 2 seeds"
    assert found[2] == "predicted daisy true rose confidence 70.5 % (seed 0), wrong in 2 of 2 seeds"


def test_a_mistake_of_one_run_is_shown_though_the_mean_is_right(run, report):
    wrong = logits_of(TRUTH)
    wrong[0] = [0, 1, 0]
    for seed, logits in enumerate((wrong, 5 * logits_of(TRUTH), 5 * logits_of(TRUTH))):
        run(f"{seed}", seed=seed, logits=logits)
    mistakes = section(report()[0], "mistakes")
    assert "No mistakes." not in mistakes
    assert words(re.search("<figcaption>.*?</figcaption>", mistakes)[0]).endswith("(seed 0), wrong in 1 of 3 seeds")


def test_up_to_thirty_classes_are_a_matrix_and_more_a_table(run, report):
    truth = np.arange(62) % 31
    answers = truth.copy()
    answers[[0, 31, 5]] = [3, 3, 6]
    names = [f"class_{k}" for k in range(31)]
    run("a", truth=truth, names=names, logits=logits_of(answers, 31))
    confused = section(report()[0], "confused")
    assert "Confusion matrix" not in confused
    assert rows(confused) == [
        ["class_0", "class_3", "2.0", "2", "100.0 %"],
        ["class_5", "class_6", "1.0", "2", "50.0 %"],
    ]


def test_the_matrix_counts_true_against_predicted(run, report):
    planted(run)
    confused = section(report()[0], "confused")
    assert "<table" not in confused
    matrix = re.search("<svg.*?</svg>", confused, re.DOTALL)[0]
    cells = dict(re.findall("<title>(.*?): (.*?)</title>", matrix))
    assert cells == {
        "daisy predicted as daisy": "4",
        "rose predicted as daisy": "1",
        "rose predicted as rose": "1",
        "tulip predicted as daisy": "0.5",
        "tulip predicted as tulip": "3.5",
    }
    text = re.findall("<text.*?>(.*?)</text>", matrix)
    assert text.count("daisy") == text.count("tulip") == 2
    assert {"true class", "predicted class", "0 %", "100 %", "3.5"} <= set(text)

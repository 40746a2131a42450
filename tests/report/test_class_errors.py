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
    share = np.mean([np.exp(8) / (np.exp(8) + 2), np.exp(9) / (np.exp(9) + 2)])
    assert found[0] == f"predicted daisy true tulip confidence {100 * share:.1f} %, wrong in 2 of 2 seeds"
    assert found[1] == "predicted daisy true rose confidence 70.5 %, wrong in 2 of 2 seeds"
    assert found[2].startswith("predicted daisy true tulip")
    assert found[2].endswith("wrong in 1 of 2 seeds")

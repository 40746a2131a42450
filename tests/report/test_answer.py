"""The answer says which strategy to use, what is not decided, and what few seeds can't show."""

import re

import numpy as np
import pytest
import yaml
from report_pages import words
from written_runs import logits_of

from flowers_tl.report import recommendation_lines
from flowers_tl.report.answer import answer
from flowers_tl.report.summary import summarize

LABELS = np.repeat(np.arange(3), 100)


def wrong(count, first=0):
    """300 answers, of which ``count`` from the ``first`` on are wrong."""
    return logits_of(np.where((np.arange(300) - first) % 300 < count, (LABELS + 1) % 3, LABELS))


@pytest.fixture
def answered(run, groups):
    """The answer about strategies: a function of (strategy, validation accuracy, wrong answers, seconds, seeds)."""

    def made(*strategies, seeds=3, **settings):
        for strategy, val, count, seconds in strategies:
            for seed in range(seeds):
                name = f"{strategy}_{seed}"
                # Each seed errs elsewhere, and once more often.
                logits = wrong(count + seed, 10 * seed)
                run(
                    name,
                    strategy=strategy,
                    seed=seed,
                    val=val,
                    logits=logits,
                    truth=LABELS,
                    seconds=seconds,
                    **settings,
                )
        return answer(summarize(groups()))

    return made


def test_the_headline_is_the_answer_with_data_set_and_network(answered):
    said = answered(("tuned", 0.9, 30, 50), ("probe", 0.8, 150, 10))
    assert said.headline == "Use tuned: 89.7 % test accuracy on drawn with resnet18"
    assert said.decision.startswith("tuned is better than probe by 40.0 points (95 % CI ")
    assert said.decision.endswith("79 % fewer errors.")
    assert said.numbers.startswith(
        "tuned has the best validation accuracy (90.0 ± 0.0 %) and a test accuracy of 89.7 ± 0.3 %"
    )
    assert said.few_seeds == []


def test_the_second_line_names_the_cheapest_rival_that_is_not_decided_and_its_cost(answered):
    said = answered(("tuned", 0.9, 30, 50), ("half", 0.85, 32, 7), ("other", 0.84, 33, 40), ("probe", 0.8, 150, 5))
    assert said.decision.startswith("Not decided: tuned and half do not differ significantly (difference 0.7 points, ")
    assert "half takes 7.0 s per run, tuned 50 s." in said.decision
    assert said.decision.endswith("Also not decided: other.")


def test_a_rival_that_is_no_better_and_not_cheaper_is_called_that_after_what_is_decided(answered, run):
    said = answered(("tuned", 0.9, 30, 13), ("scratch", 0.8, 31, 25), ("worse", 0.85, 60, 20), ("probe", 0.8, 150, 5))
    assert said.decision.startswith("tuned is better than worse by 10.0 points (")
    assert ". Not decided: tuned and scratch do not differ significantly (difference 0.3 points, " in said.decision
    assert said.decision.endswith(
        "). scratch has runs from 89.0 to 89.7 %, no better validation accuracy, and takes 25 s per run, tuned 13 s."
    )


def test_one_run_is_not_called_several(answered, report):
    said = answered(("tuned", 0.9, 30, 13), seeds=1)
    assert said.few_seeds[1] == "The confidence intervals are about this very run, over the test images alone."
    page = words(report()[0])
    for several in (
        "very runs",
        "over seeds",
        "over the seeds",
        "seeds of a group",
        "All strategies",
        "all strategies",
    ):
        assert several not in page


def test_what_is_better_than_all_is_told(answered):
    said = answered(("tuned", 0.9, 30, 50), ("half", 0.85, 120, 7), ("probe", 0.8, 150, 5))
    assert said.decision.endswith("tuned is significantly better than each of the 2 others.")


def test_one_that_is_better_on_the_test_images_is_not_kept_back(answered):
    said = answered(("tuned", 0.9, 60, 50), ("half", 0.85, 61, 7), ("probe", 0.8, 5, 5))
    assert said.headline.startswith("Use tuned: ")
    assert said.decision.endswith("With lower validation accuracy, yet significantly better on the test images: probe.")


def test_two_seeds_are_never_a_hundred_points(answered, run, groups, report, tmp_path):
    """Seeds that differ far: an interval over two seeds would reach from -100 to 100."""
    overrides = ["data=synthetic", "strategy=tuned,probe", "seed=0,1", f"data.root={tmp_path}/my drawings"]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": {"task": overrides}}}))
    for strategy, val, counts in (("tuned", 0.9, (20, 60)), ("probe", 0.8, (90, 40))):
        for seed, count in enumerate(counts):
            run(f"{strategy}{seed}", strategy=strategy, seed=seed, val=val, logits=wrong(count), truth=LABELS)
    page, markdown, _ = report()
    summary = summarize(groups())
    terminal = "\n".join(recommendation_lines(summary))
    for text in (words(page), markdown, terminal):
        assert "100.0 to" not in text
        assert "over images only" in text
        assert "Two seeds can't show how results vary between seeds." in text
        assert "Over the test images alone, for these very runs: tuned is significantly better than the other." in text
        assert "A third seed: the command below; finished runs are not repeated." in text
    command = "python -m flowers_tl.train -m data=synthetic strategy=tuned,probe "
    assert f"{command}'data.root={tmp_path}/my drawings' seed=0,1,2" in terminal.splitlines()
    # Whoever reads the page has other folders.
    assert str(tmp_path) not in page + markdown
    assert command in words(page)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        (1, "One seed can't show how results vary between seeds."),
        (2, "Two seeds can't show how results vary between seeds."),
        (3, None),
    ],
)
def test_seeds_that_are_missing_are_asked_for(answered, seeds, told):
    said = answered(("tuned", 0.9, 30, 50), ("probe", 0.8, 150, 10), seeds=seeds)
    assert (said.few_seeds[0] if said.few_seeds else None) == told
    if told:
        assert said.few_seeds[-1].endswith("the same command with -m and seed=0,1,2.")


def test_of_unlike_numbers_of_seeds_the_few_are_named(answered, run, groups):
    answered(("tuned", 0.9, 30, 50))
    run("probe", strategy="probe", seed=5, val=0.8, logits=wrong(90), truth=LABELS)
    said = answer(summarize(groups()))
    assert said.few_seeds[0] == "One seed can't show how results vary between seeds (here probe)."
    assert said.few_seeds[-1].endswith("seed=0,1,5.")


def test_a_folder_of_images_has_its_own_name(answered, groups, run):
    folder = run("a")
    record = re.sub('"name": "drawn"', '"name": "folder"', (folder / "result.json").read_text())
    (folder / "result.json").write_text(record.replace('"root": null', '"root": "/somewhere/my photos"'))
    assert answer(summarize(groups())).headline == "fine_tuning: 100.0 % test accuracy on my photos with resnet18"

"""What a run will take: by the passes it makes, and by what runs have taken."""

import numpy as np
import pytest

from flowers_tl.advising.candidates import list_candidates
from flowers_tl.advising.costs import GUESS, Costs, add_passes, fit_factors

SIZES = {"train": 100, "val": 50, "test": 200}


@pytest.fixture(scope="module")
def candidates():
    strategies = ["linear_probe", "feature_extraction", "fine_tuning", "full_fine_tuning"]
    keys = ["data=synthetic", "backbone.weights=null", "trainer.max_epochs=8", "cache.views=4"]
    return {one.name: one for one in list_candidates(strategies, [[]], keys)[0]}


# Seconds of an image.
STAGES = {"stem": 0.5, "layer1": 1, "layer2": 1, "layer3": 1, "layer4": 0.5, "neck": 0}


@pytest.fixture
def costs(candidates):
    costs = Costs()
    costs.measured(STAGES, SIZES, candidates.values())
    return costs


def test_seconds_follow_from_passes_and_epochs(candidates):
    expected = {name: add_passes(one, STAGES, SIZES) for name, one in candidates.items()}
    # The prefix passes val once, and train in four views; behind it is only the head, which takes no time.
    assert expected["feature_extraction"] == (9, (50 + 4 * 100) * 4, (50 + 4 * 100) * 4, 200 * 4, 0)
    # Each of eight epochs trains layer4, and val passes it once more at the end.
    assert expected["fine_tuning"].run == (50 + 4 * 100) * 3.5 + (8 * 3 * 100 + 9 * 50) * 0.5
    assert expected["fine_tuning"][2:] == ((50 + 4 * 100) * 3.5, 200 * 3.5, 200 * 0.5)
    assert expected["full_fine_tuning"] == (9, (8 * 3 * 100 + 9 * 50) * 4, 0, 0, 200 * 4)
    # It trains in no epoch, and measures val once.
    assert expected["linear_probe"].epochs == 1
    assert expected["linear_probe"].run < expected["feature_extraction"].run


def test_predictions_learn_from_runs_of_the_same_kind(candidates, costs):
    one, other, head = (candidates[name] for name in ("fine_tuning", "full_fine_tuning", "feature_extraction"))
    before_head, passes = costs.predict(head), costs.expected["fine_tuning"].run
    one.hits = [[1]]
    costs.learn(one, {"decode": 100, "prefix": 0, "total": 5 * passes + 100}, 5 * passes + 103)
    # Five times as slow as its passes; what was decoded is not decoded again.
    assert costs.predict(other) == pytest.approx(5 * costs.expected["full_fine_tuning"].run, rel=0.01)
    assert costs.predict(head) == pytest.approx(before_head, rel=0.01)
    # Its own next run takes what the last one took, also where that was found and took no time.
    assert costs.predict(one) == 5 * passes + 103
    one.hits = [[1], [1]]
    costs.learn(one, {"decode": 0, "prefix": 0, "total": 5 * passes}, 0.1)
    assert costs.predict(one) == 5 * passes
    one.hits = []


def test_a_test_costs_a_start_for_each_seed_and_one_pass_through_the_prefix(candidates, costs):
    one = candidates["fine_tuning"]
    assert costs.test(one, 3) - costs.test(one, 2) == pytest.approx(200 * 0.5 + 1 + 2 * 0.3)
    assert costs.test(one, 1) == pytest.approx(200 * 4 + 1 + 2 * 0.3)


# Of four kinds of runs: starts, epochs, and seconds of the passes where only the head is trained, and where more is.
SHAPES = GUESS * [[1, 1, 40, 0], [1, 16, 130, 0], [1, 16, 0, 600], [1, 16, 0, 1400]]


@pytest.mark.parametrize("passes", [0.001, 0.1, 1, 10])
@pytest.mark.parametrize("truth", [(5, 7, 1.1, 1.2), (0.5, 0.3, 1.5, 1), (8, 0, 0.8, 2.3)])
def test_starts_and_epochs_are_learned_with_few_images_and_passes_with_many(passes, truth):
    shapes = SHAPES * [1, 1, passes, passes]
    seconds = shapes @ truth
    measured = zip(shapes[:3], seconds[:3] * (1 + np.array([-0.03, 0.03, 0.02])), strict=True)
    assert shapes[3] @ fit_factors([*measured]) == pytest.approx(seconds[3], rel=0.15)


def test_what_a_run_with_few_images_takes_is_expected_of_others_too():
    few = SHAPES * [1, 1, 0.001, 0.001]
    assert fit_factors([]) == pytest.approx([1, 1, 1, 1])
    factors = fit_factors([(few[2], 37.0)])
    assert few[3] @ factors == pytest.approx(37, rel=0.1)
    assert few[0] @ factors > 3 * few[0].sum()


@pytest.mark.parametrize("busy", [0.2, 1, 5])
def test_a_busy_moment_does_not_spoil_all_predictions(candidates, busy):
    """The stages are measured in seconds in which the machine may be busier than later: the first run shows it."""
    costs, quiet = Costs(), Costs()
    costs.measured({name: busy * seconds for name, seconds in STAGES.items()}, SIZES, candidates.values())
    quiet.measured(STAGES, SIZES, candidates.values())
    head, deep, passes = candidates["feature_extraction"], candidates["fine_tuning"], (50 + 4 * 100) * 4
    head.hits = [[1]]
    # What lay in the cache tells nothing.
    costs.learn(head, {"decode": 0, "prefix": 1, "total": 3, "cold": passes}, 0)
    assert costs.slowdown == 1
    costs.runs.clear()
    costs.learn(head, {"decode": 0, "prefix": passes, "total": passes + 1, "cold": passes + 3}, 0)
    head.hits = []
    assert costs.predict(deep) == pytest.approx(quiet.predict(deep), rel=0.1)
    assert costs.test(deep, 1) == pytest.approx(quiet.test(deep, 1), rel=0.1)

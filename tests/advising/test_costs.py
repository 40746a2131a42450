"""What a run will take: by what it computes, and by what runs have taken."""

import pytest

from flowers_tl.advising.candidates import list_candidates
from flowers_tl.advising.costs import Costs, count_kept_flops

SIZES = {"train": 100, "val": 50, "test": 200}


@pytest.fixture(scope="module")
def candidates():
    strategies = ["linear_probe", "feature_extraction", "fine_tuning", "full_fine_tuning"]
    keys = ["data=synthetic", "backbone.weights=null", "trainer.max_epochs=8", "cache.views=4", "data.image_size=224"]
    return {one.name: one for one in list_candidates(strategies, [[]], keys)[0]}


@pytest.fixture
def costs(candidates):
    costs = Costs()
    for one in candidates.values():
        costs.measured(one, 0.01, 10, SIZES)
    return costs


def test_flops_follow_from_passes_and_epochs(candidates):
    counts = {name: count_kept_flops(one.config, 10, SIZES) for name, one in candidates.items()}
    flops = {name: count.run for name, count in counts.items()}
    whole = 2 * 1_814_000_000
    # The prefix passes val once, and train in four views; all else is the head.
    assert flops["feature_extraction"] == pytest.approx((50 + 4 * 100) * whole, rel=0.01)
    # Each epoch all, forward and backward, and val once more at the end.
    assert flops["full_fine_tuning"] == pytest.approx((8 * 3 * 100 + 9 * 50) * whole, rel=0.01)
    # The test's pass through the prefix is made once; full_fine_tuning has none.
    assert counts["feature_extraction"].test_prefix == pytest.approx(200 * whole, rel=0.01)
    assert counts["full_fine_tuning"][1:] == (0, pytest.approx(200 * whole, rel=0.01))
    assert flops["linear_probe"] < flops["feature_extraction"] < flops["fine_tuning"] < flops["full_fine_tuning"]


def test_predictions_learn_from_runs_of_the_same_kind(candidates, costs):
    one, other, head = (candidates[name] for name in ("fine_tuning", "full_fine_tuning", "feature_extraction"))
    before, before_head, expected = costs.predict(other), costs.predict(head), costs.by_flops(one)
    phases = {"prefix": expected, "fit": 4 * expected, "decode": 100, "test": 0, "other": 3}
    one.hits, one.seconds = [[1]], [5 * expected + 103]
    costs.learn(one, phases | {"total": 5 * expected + 103})
    # Five times as slow as its FLOPs say, and three seconds apart; what was decoded is not decoded again.
    assert costs.predict(other) == pytest.approx(3 + 5 * costs.by_flops(other))
    assert costs.predict(other) > before
    assert costs.predict(head) == pytest.approx(3 + before_head)
    # Its own next run takes what the last one took.
    assert costs.predict(one) == 5 * expected + 103
    one.hits, one.seconds = [], []

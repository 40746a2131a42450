"""What a run will take: by the passes it makes, and by what runs have taken."""

import pytest

from flowers_tl.advising.candidates import list_candidates
from flowers_tl.advising.costs import Costs, add_passes

SIZES = {"train": 100, "val": 50, "test": 200}


@pytest.fixture(scope="module")
def candidates():
    strategies = ["linear_probe", "feature_extraction", "fine_tuning", "full_fine_tuning"]
    keys = ["data=synthetic", "backbone.weights=null", "trainer.max_epochs=8", "cache.views=4"]
    return {one.name: one for one in list_candidates(strategies, [[]], keys)[0]}


# Seconds of an image.
STAGES = {"stem": 0.5, "layer1": 1, "layer2": 1, "layer3": 1, "layer4": 0.5, "neck": 0}


@pytest.fixture
def costs():
    costs = Costs()
    costs.measured("resnet18", STAGES, SIZES)
    return costs


def test_seconds_follow_from_passes_and_epochs(candidates):
    expected = {name: add_passes(one, STAGES, SIZES) for name, one in candidates.items()}
    # The prefix passes val once, and train in four views; behind it is only the head, which takes no time.
    assert expected["feature_extraction"] == ((50 + 4 * 100) * 4, 200 * 4, 0)
    # Each of eight epochs trains layer4, and val passes it once more at the end.
    assert expected["fine_tuning"].run == (50 + 4 * 100) * 3.5 + (8 * 3 * 100 + 9 * 50) * 0.5
    assert expected["fine_tuning"][1:] == (200 * 3.5, 200 * 0.5)
    assert expected["full_fine_tuning"] == ((8 * 3 * 100 + 9 * 50) * 4, 0, 200 * 4)
    assert expected["linear_probe"].run < expected["feature_extraction"].run


def test_predictions_learn_from_runs_of_the_same_kind(candidates, costs):
    one, other, head = (candidates[name] for name in ("fine_tuning", "full_fine_tuning", "feature_extraction"))
    before_head, passes = costs.predict(head), costs.of_passes(one).run
    one.hits, one.seconds = [[1]], [5 * passes + 103]
    costs.learn(one, {"prefix": passes, "fit": 4 * passes, "decode": 100, "other": 3, "total": 5 * passes + 103})
    # Five times as slow as its passes, and three seconds apart; what was decoded is not decoded again.
    assert costs.predict(other) == pytest.approx(3 + 5 * costs.of_passes(other).run)
    assert costs.predict(head) == pytest.approx(3 + before_head)
    # Its own next run takes what the last one took.
    assert costs.predict(one) == 5 * passes + 103
    # The prefix passes the test images once for all seeds, and each run has its three seconds.
    assert costs.test(one, 3) == pytest.approx(200 * 3.5 + 3 * (200 * 0.5 + 3))
    one.hits, one.seconds = [], []

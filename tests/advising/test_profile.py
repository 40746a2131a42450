"""The depth profile: pooled outputs of each stage, and what heads and neighbours make of them."""

import pytest
import torch

from flowers_tl.advising.profile import (
    neighbour_accuracy,
    pooled_outputs,
    profile,
    seconds_by_stage,
    solved_accuracy,
)
from flowers_tl.inference.evaluate import make_trainer
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.training.factory import frozen_features, set_up_data


@pytest.fixture(scope="module")
def features(config, tiny, resnet18_weights):
    one = with_preprocessing(
        config(tiny(strategy="linear_probe", backbone__weights=resnet18_weights, strategy__head_from="[':head']"))
    )
    return frozen_features(one, set_up_data(one), make_trainer(one["trainer"]))


def test_the_profile_has_each_stage_and_is_computed_once(features, monkeypatch):
    scores = profile(features, "one")
    assert [one.stage for one in scores] == ["stem", "layer1", "layer2", "layer3", "layer4", "neck"]
    assert [one.features for one in scores] == [64, 64, 128, 256, 512, 512]
    # The neck of a ResNet averages what layer4 puts out.
    assert scores[4].solved == scores[5].solved
    with monkeypatch.context() as patch:
        patch.setattr(type(features.data.cache), "_build", lambda *_: pytest.fail("computed again"))
        assert profile(features, "one") == scores


def test_scores_of_other_labels_or_weights_are_computed_anew(features, monkeypatch):
    profile(features, "one")
    monkeypatch.setattr("flowers_tl.advising.profile.solved_accuracy", lambda *_: 0.25)
    with monkeypatch.context() as patch:
        patch.setattr(features, "labels", lambda split: torch.tensor(features.data.images[split].labels[::-1]))
        assert [one.solved for one in profile(features, "one")] == [0.25] * 6
    weight = features.model.backbone.network.layer4[0].conv1.weight
    before = weight.detach().clone()
    with torch.inference_mode():
        weight[0] += 1
        assert [one.solved for one in profile(features, "one")] == [0.25] * 6
        weight.copy_(before)


def test_pooled_outputs_that_earlier_versions_kept_are_found(features, monkeypatch):
    key = features.describe(("val", "centre", "head"))
    monkeypatch.setattr(features.model.backbone, "places", {})
    assert key == features.describe(("val", "centre", "head")) | {"pooled": True}


def test_to_measure_and_to_score_changes_no_weight_and_no_statistic(features):
    before = {name: value.clone() for name, value in features.model.state_dict().items()}
    seconds = seconds_by_stage(features)
    assert list(seconds) == ["stem", "layer1", "layer2", "layer3", "layer4", "neck"]
    assert all(value > 0 for value in seconds.values())
    profile(features, "one")
    assert all(torch.equal(before[name], value) for name, value in features.model.state_dict().items())


def test_pooled_outputs_are_those_of_the_whole_network(features):
    backbone, images = features.model.backbone, features.images("val", random=False)
    pixels, _ = images.__getitems__(list(range(len(images))))
    with torch.no_grad():
        expected = backbone.run(backbone.normalise(pixels), None, "head")
    torch.testing.assert_close(pooled_outputs(features, "val"), expected)


def test_scores_say_how_well_classes_lie_apart():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    apart = torch.nn.functional.one_hot(labels, 4).float() * 8 + torch.randn(200, 4, generator=generator)
    noise = torch.randn(200, 4, generator=generator)
    for score in (solved_accuracy, neighbour_accuracy):
        assert score(apart[:100], labels[:100], apart[100:], labels[100:]) > 0.98
        assert score(noise[:100], labels[:100], noise[100:], labels[100:]) < 0.5

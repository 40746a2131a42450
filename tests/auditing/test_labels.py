"""Flipped labels come first among the suspects, and copies of an image do not hide that its label is wrong."""

import numpy as np
import torch
from torch.nn.functional import normalize

from flowers_tl.auditing.labels import find_inseparable, find_outliers, find_suspects, out_of_fold, unit_features


def blobs(count=150, classes=3, seed=0):
    """Features around one centre a class, and the classes."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    features = 5 * np.eye(16)[truth] + random.normal(size=(count, 16))
    return normalize(torch.tensor(features, dtype=torch.float32)), truth


def test_flipped_labels_are_the_first_suspects():
    features, truth = blobs()
    flipped = np.arange(0, 150, 15)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + 1) % 3
    suspects = find_suspects(out_of_fold(features, labels, np.arange(150)), labels)
    first = suspects[:10]
    assert len({one[0] for one in first} & {*flipped.tolist()}) >= 9
    assert all(one[1] == truth[one[0]] for one in first if one[0] in flipped)
    assert [one[2] for one in suspects] == sorted((one[2] for one in suspects), reverse=True)


def test_a_copy_with_the_same_wrong_label_does_not_vouch_for_it():
    features, truth = blobs()
    features = torch.cat([features, features[:1].expand(5, -1)])
    labels = np.concatenate([truth, truth[:1].repeat(5)])
    labels[[0, *range(150, 155)]] = 1
    apart, together = np.arange(155), np.concatenate([np.arange(150), np.zeros(5, int)])
    assert out_of_fold(features, labels, together)[0, 1] < out_of_fold(features, labels, apart)[0, 1]


def test_of_a_class_with_too_few_images_nothing_is_said():
    features, truth = blobs()
    labels = truth.copy()
    labels[:3] = 3
    assert not {one[0] for one in find_suspects(out_of_fold(features, labels, np.arange(150)), labels)} & {0, 1, 2}


def test_features_with_places_are_averaged_over_them():
    features = torch.randn(6, 4, 3, 3)
    torch.testing.assert_close(unit_features(features), unit_features(features.mean((2, 3))))


def test_an_image_like_no_class_is_the_first_outlier():
    features, truth = blobs()
    strange = normalize(
        -features[truth == 0].mean(0) - features[truth == 1].mean(0) - features[truth == 2].mean(0), dim=0
    )
    features[7] = strange
    first, *others = find_outliers(features, truth)
    assert first[0] == 7
    assert first[1] > 1.5 * max(score for _, score in others)
    assert len(others) < 10
    # Nor one of a class with too few images, which has no mean to be like.
    truth = truth.copy()
    truth[7] = 3
    assert 7 not in {place for place, _ in find_outliers(features, truth)}


def test_an_image_without_what_all_others_share_is_an_outlier_however_like_a_class_the_rest_is():
    random, truth = np.random.default_rng(0), np.arange(156) % 3
    # The first number is common to all; around the mean a foreign image looks like class 0.
    features = 3 * np.eye(16)[0] + np.eye(16)[truth + 1] + 0.3 * random.normal(size=(156, 16))
    features[150:] = 6 * np.eye(16)[1] + 0.3 * random.normal(size=(6, 16))
    features = torch.tensor(features, dtype=torch.float32)
    listed = find_outliers(features, truth)
    assert {place for place, _ in listed[:6]} == {*range(150, 156)}
    assert len(listed) < 12
    # Features with places are averaged over them.
    assert find_outliers(features[..., None, None].expand(-1, -1, 2, 2), truth) == listed


def test_two_names_of_one_class_are_inseparable():
    features, truth = blobs(200)
    labels = np.where((truth == 0) & (np.arange(200) % 2 == 0), 3, truth)
    ((first, second, score),) = find_inseparable(out_of_fold(features, labels, np.arange(200)), labels)
    assert (first, second) == (0, 3)
    assert score < 0.75
    # Heads that give both the same probability tell nothing apart.
    assert find_inseparable(np.full((10, 2), 0.5), np.arange(10) % 2) == [(0, 1, 0.5)]
    assert find_inseparable(np.full((8, 2), 0.5), np.arange(8) % 2) == []

"""What a race states is right in at least 95 of 100 races, and it does speak.

``python tests/advising/test_decisions.py 2000`` prints how often, in so many simulated races a setting.
"""

import sys

import numpy as np
import pytest
from scipy.special import ndtri

from flowers_tl.advising.decisions import (
    ALPHA,
    MOST_SEEDS,
    compare_with_leader,
    level,
    seeds_to_decide,
    smallest_difference,
)

MATTERS = 0.005


def normal_effects(generator, accuracies, seeds, images, spread, common=0.6, own=0.2):
    """Answers (seeds, images) of each candidate, right where a sum of normal effects of image, candidate and seed is above 0.

    ``spread`` is the standard deviation of a candidate's accuracy over seeds, about, and one number or one a candidate.
    """
    shared = generator.normal(size=images) * np.sqrt(common)
    for accuracy, one in zip(accuracies, np.broadcast_to(spread, len(accuracies)), strict=True):
        place = ndtri(accuracy)
        # The slope of the normal distribution function turns a spread of accuracies into one of latent scores.
        of_seed = one / (np.exp(-(place**2) / 2) / np.sqrt(2 * np.pi))
        score = place * np.sqrt(1 + of_seed**2) + shared + generator.normal(size=images) * np.sqrt(own)
        score = score + generator.normal(size=(seeds, 1)) * of_seed
        yield score + generator.normal(size=(seeds, images)) * np.sqrt(1 - common - own) > 0


def heavy_effects(generator, accuracies, seeds, images, spread):
    """The same of another kind: easy and hard images by a beta distribution, and seeds of which some fail badly (t, 3 degrees)."""
    ranks = generator.random(images)
    for accuracy, one in zip(accuracies, np.broadcast_to(spread, len(accuracies)), strict=True):
        # A beta distribution of the mean 0.9, most of it near 1; shrunk to the accuracy.
        easy = np.sort(generator.beta(1.8, 0.2, size=4 * images))[(4 * images * ranks).astype(int)] / 0.9
        effects = generator.standard_t(3, size=(seeds, 1)) * one / np.sqrt(3) / accuracy
        chance = np.clip(accuracy * easy * (1 + effects), 0, 1)
        yield generator.random((seeds, images)) < chance


def race(model, accuracies, images, spread, generator, most=MOST_SEEDS):
    """The statements of a whole race: by seeds, (better, worse) and (not better by what matters)."""
    hits = dict(enumerate(model(generator, accuracies, most, images, spread)))
    racing, statements = dict(hits), []
    for seeds in range(3, most + 1):
        for one in compare_with_leader(racing, seeds, len(hits)):
            if one.leaves(MATTERS):
                statements.append(one)
                del racing[one.other]
        if len(racing) < 2:
            break
    return statements


def false_ones(statements, accuracies):
    """Whether any statement is false: on which is better, or on what can't matter."""
    gaps = [(one, accuracies[one.leader] - accuracies[one.other]) for one in statements]
    return any(gap <= 0 if one.better else gap <= -MATTERS for one, gap in gaps)


EQUAL, SPREAD_OUT = (0.9,) * 8, (0.93, 0.92, 0.91, 0.9, 0.89, 0.87, 0.85, 0.3)
SETTINGS = {
    "8 equal, spread 0.3": (normal_effects, EQUAL, 1020, 0.003),
    "8 equal, spread 1": (normal_effects, EQUAL, 1020, 0.01),
    "8 equal, spread 3": (normal_effects, EQUAL, 1020, 0.03),
    "8 equal, spread 1, 100 images": (normal_effects, EQUAL, 100, 0.01),
    "8 unlike, spread 1": (normal_effects, SPREAD_OUT, 1020, 0.01),
    "2 equal, spread 1": (normal_effects, EQUAL[:2], 1020, 0.01),
    "3 equal, one spreads 5, others 0.3": (normal_effects, EQUAL[:3], 1020, (0.05, 0.003, 0.003)),
    "8 equal, other model, spread 1": (heavy_effects, EQUAL, 1020, 0.01),
    "3 equal, other model, spread 3, 300 images": (heavy_effects, EQUAL[:3], 300, 0.03),
}  # fmt: skip
POWER = {
    "2, 3 points apart": (normal_effects, (0.92, 0.89), 1020, 0.003),
    "3, 3 points apart": (normal_effects, (0.92, 0.89, 0.89), 1020, 0.003),
    "8, the best 3 points ahead": (normal_effects, (0.92, *[0.89] * 7), 1020, 0.003),
    "8, the best 3 points ahead, 2,000 images": (normal_effects, (0.92, *[0.89] * 7), 2000, 0.003),
    "2, 3 points apart, other model": (heavy_effects, (0.92, 0.89), 1020, 0.003),
}


def error(setting, races, seed=0):
    """Share of races with a false statement."""
    model, accuracies, images, spread = setting
    generator = np.random.default_rng(seed)
    return np.mean([
        false_ones(race(model, accuracies, images, spread, generator), accuracies) for _ in range(races)
    ])  # fmt: skip


def power(setting, races, seed=0):
    """Share of races, and of pairs, that state within three seeds that the best is better than another."""
    model, accuracies, images, spread = setting
    generator = np.random.default_rng(seed)
    stated = [
        [one.better and one.leader == 0 for one in race(model, accuracies, images, spread, generator, most=3)]
        for _ in range(races)
    ]
    return np.mean([sum(one) for one in stated]) / (len(accuracies) - 1)


@pytest.mark.parametrize("name", ["8 equal, spread 1", "3 equal, other model, spread 3, 300 images"])
def test_few_races_state_what_is_false(name):
    assert error(SETTINGS[name], 150) < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_at_most_one_race_in_twenty_states_what_is_false(name):
    # The standard error of 1,000 races is 0.7 %.
    assert error(SETTINGS[name], 1000, seed=1) < 0.065


def test_a_difference_of_three_points_is_stated_within_three_seeds():
    assert power(POWER["2, 3 points apart"], 150) > 0.7


def test_the_levels_of_all_rounds_and_pairs_hold_together():
    for candidates in (2, 3, 8):
        errors = [1 - level(seeds, candidates) for seeds in range(3, MOST_SEEDS + 1)]
        assert sum(errors) * candidates * (candidates - 1) / 2 <= ALPHA
        assert errors == sorted(errors, reverse=True)


def test_one_or_two_seeds_decide_nothing():
    hits = {"good": np.ones((2, 500)), "bad": np.zeros((2, 500))}
    assert compare_with_leader(hits, 1, 2) == compare_with_leader(hits, 2, 2) == []


def test_a_candidate_without_the_third_seed_is_not_compared():
    hits = {"good": np.ones((3, 500)), "bad": np.zeros((3, 500)), "late": np.ones((2, 500))}
    (one,) = compare_with_leader(hits, 3, 3)
    assert (one.leader, one.other, one.seeds, one.better) == ("good", "bad", 3, True)


def test_what_can_not_be_better_by_what_matters_leaves_without_being_called_worse():
    generator = np.random.default_rng(0)
    first = generator.random((3, 4000)) < 0.9
    second = first.copy()
    second[:, :8] = ~second[:, :8]
    one = compare_with_leader({"first": first, "second": second}, 3, 2)[0]
    assert not one.better
    assert one.leaves(0.01)
    assert not one.leaves(0.0)
    assert "is not better than" in one.sentence(0.01)


def test_more_seeds_are_promised_only_where_they_would_decide():
    generator = np.random.default_rng(0)
    a, b = normal_effects(generator, (0.93, 0.91), 3, 1020, 0.01)
    more = seeds_to_decide(a, b, 2, 0.0)
    assert more is None or 1 <= more <= MOST_SEEDS - 3
    few = slice(0, 30)
    assert seeds_to_decide(a[:, few], b[:, few], 2, 0.0) is None
    # Two seeds are never enough, so one more is the least.
    assert seeds_to_decide(np.ones((2, 500)), np.zeros((2, 500)), 2, 0.0) == 1


def test_the_smallest_difference_falls_with_the_images():
    values = [smallest_difference(images, 8) for images in (30, 100, 1020, 10_000)]
    assert values == sorted(values, reverse=True)
    assert 0.02 < values[2] < 0.05


if __name__ == "__main__":
    count = int(sys.argv[1])
    for name, setting in SETTINGS.items():
        print(f"{name:<45} {100 * error(setting, count):5.1f} % of races with a false statement", flush=True)
    for name, setting in POWER.items():
        print(f"{name:<45} {100 * power(setting, count):5.1f} % of pairs stated within three seeds", flush=True)

"""Labels that heads doubt, classes that they do not tell apart, and images like no class, by features that are kept."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss, normalize

from flowers_tl.models.linear_probe import run_lbfgs
from flowers_tl.utils.notes import track

FOLDS = 5
# Of a class with fewer images nothing is said.
FEWEST = 5
# Deviations below the median from which on an image is like no class; share of right answers below which two classes are one.
FAR, APART = 3.0, 0.75
# Of the first held-out fold the one with the least loss is taken.
WEIGHT_DECAYS, ITERATIONS = (1e-2, 1e-3, 1e-4), 60

# An image's place, the class that is likelier than its label, and by how much.
Suspect = tuple[int, int, float]


def unit_features(features: Tensor) -> Tensor:
    """Features (n, ...) as vectors of unit length around their mean, float32 (n, d); what has places is averaged over them."""
    vectors = flat(features)
    return normalize(vectors - vectors.mean(0))


def flat(features: Tensor) -> Tensor:
    """Features (n, ...) as vectors (n, d)."""
    return features.flatten(2).mean(-1) if features.ndim > 2 else features


def out_of_fold(features: Tensor, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) by heads that were solved without the image, its copies and a fifth of all others.

    A ranking needs no exact optimum, so this is quicker than :func:`flowers_tl.models.linear_probe.solve_head`.
    ``features`` are of unit length, (n, d); ``labels`` and the ``groups`` of copies are int64 (n,).
    """
    _, firsts, group = np.unique(groups, return_index=True, return_inverse=True)
    # Each class in turn gives its groups to all folds.
    fold = torch.from_numpy((np.argsort(np.argsort(labels[firsts], kind="stable")) % FOLDS)[group])
    target, answers = torch.from_numpy(labels), torch.zeros(len(labels), int(labels.max()) + 1)

    def held_out(k: int, decay: float) -> Tensor:
        head, inputs, known = nn.Linear(features.shape[1], answers.shape[1]), features[fold != k], target[fold != k]
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        run_lbfgs(lambda: cross_entropy(head(inputs), known), head, decay, max_iter=ITERATIONS)
        with torch.no_grad():
            return head(features[fold == k]).log_softmax(1)

    decay = min(WEIGHT_DECAYS, key=lambda one: nll_loss(held_out(0, one), target[fold == 0]).item())
    for k in track(range(FOLDS), "Solving heads without a fifth of the images"):
        answers[fold == k] = held_out(k, decay).exp()
    return answers.numpy()


def find_suspects(probabilities: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    """Images to which heads give another class than their label says, the surest first.

    They are ranked by the margin between the two probabilities (confident learning, Northcutt et al. 2021).
    """
    many = np.bincount(labels, minlength=probabilities.shape[1]) >= FEWEST
    stated = probabilities[np.arange(len(labels)), labels]
    known = np.where(many, probabilities, 0)
    likely, margin = known.argmax(1), known.max(1) - stated
    doubted = np.flatnonzero((margin > 0) & (likely != labels) & many[labels])
    return [(int(k), int(likely[k]), float(margin[k])) for k in doubted[np.argsort(-margin[doubted])]]


def find_outliers(features: Tensor, labels: np.ndarray) -> list[tuple[int, float]]:
    """Images that are like no class, the least alike first, and by how many deviations they are less like one than others.

    An image is as like a class as the directions of its features and of the sum of the class's other images are. ``features``
    (n, ...) are as the network gives them, what has places is averaged over them: around their mean all that is foreign looks
    alike, and foreign images vouch for one another. Median and median deviation stand for mean and standard deviation, which
    outliers would change. Images of classes with fewer than FEWEST images are not looked at.
    """
    target, units = torch.from_numpy(labels), normalize(flat(features))
    sums = torch.zeros(int(labels.max()) + 1, units.shape[1]).index_add_(0, target, units)
    similar = units @ normalize(sums).T
    similar[torch.arange(len(labels)), target] = (normalize(sums[target] - units) * units).sum(1)
    best = similar.amax(1).numpy()
    below = np.median(best) - best
    scores = below / (1.4826 * np.median(np.abs(below)) + 1e-6)
    many = np.bincount(labels)[labels] >= FEWEST
    return [(int(k), float(scores[k])) for k in np.argsort(-scores) if scores[k] >= FAR and many[k]]


def find_inseparable(probabilities: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of classes that heads hardly tell apart, and the balanced accuracy if an image must be one of the two.

    Equal probabilities count as half.
    """
    known = [label for label, count in enumerate(np.bincount(labels)) if count >= FEWEST]
    wins = np.full((len(probabilities[0]),) * 2, np.nan)
    for label in known:
        of_class = probabilities[labels == label]
        stated = of_class[:, [label]]
        wins[label] = (stated > of_class).mean(0) + (stated == of_class).mean(0) / 2
    both = (wins + wins.T) / 2
    pairs = [(a, b, float(both[a, b])) for a, b in combinations(known, 2) if both[a, b] < APART]
    return sorted(pairs, key=lambda pair: pair[2])

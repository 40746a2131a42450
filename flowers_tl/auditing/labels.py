"""Labels that heads doubt, which are solved on features that are kept."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss, normalize
from torch.optim import LBFGS

from flowers_tl.utils.notes import track

FOLDS = 5
# Of a class with fewer images nothing is said.
FEWEST = 5
# Of the first held-out fold the one with the least loss is taken.
WEIGHT_DECAYS, ITERATIONS = (1e-2, 1e-3, 1e-4), 60


# An image's place, the class that is likelier than its label, and by how much.
Suspect = tuple[int, int, float]


def unit_features(features: Tensor) -> Tensor:
    """Features (n, ...) as vectors of unit length around their mean, float32 (n, d); what has places is averaged over them."""
    flat = features.flatten(2).mean(-1) if features.ndim > 2 else features
    return normalize(flat - flat.mean(0))


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
        weight, bias = solve(features[fold != k], target[fold != k], answers.shape[1], decay)
        return (features[fold == k] @ weight.T + bias).log_softmax(1)

    decay = min(WEIGHT_DECAYS, key=lambda one: nll_loss(held_out(0, one), target[fold == 0]).item())
    for k in track(range(FOLDS), "Solving heads without a fifth of the images"):
        answers[fold == k] = held_out(k, decay).exp()
    return answers.numpy()


def solve(features: Tensor, labels: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """A linear head, (classes, d) and (classes,), near the least mean cross-entropy with some weight decay."""
    weight, bias = torch.zeros(classes, features.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    optimizer = LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(features @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach(), bias.detach()


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

"""The best head on the features as they are: solved by L-BFGS instead of trained by steps (a linear probe).

What a frozen network makes of an image is computed once; the head's loss over these features is then minimised to the
end, for a range of weight decays, of which val chooses one. For a linear head the problem is convex and has one answer,
with no learning rate, no number of epochs and no seed in it.
"""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS

from flowers_tl.data.transforms import FLIPPED_AXES
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.pooling import StageLinear
from flowers_tl.utils.errors import UserError, shorten

# From much to hardly any. Each solution is where the next search begins.
WEIGHT_DECAYS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
MOST_ITERATIONS = 2000


@dataclass(frozen=True)
class Solution:
    """One solved head: its weight decay, its scores, and by how much at most the objective lies above its minimum.

    ``gap`` is |gradient|² / (2 weight decay), a bound for a linear head, whose objective is that strongly convex.
    """

    weight_decay: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    gap: float
    iterations: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def compute_features(
    backbone: StagedNetwork,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    views: Sequence[str] = ("centre",),
) -> tuple[Tensor, Tensor]:
    """Run all stages before the head, in eval mode, on uint8 images (n, 3, height, width) and labels (n,) in batches.

    Args:
        backbone: is moved to ``device``.
        batches: are read once.
        device: where to compute, and where the features stay.
        views: keys of FLIPPED_AXES; each batch is followed by its mirror images, which show the same.

    Returns:
        What enters the head, float32 (n times the number of views, ...), and labels, int64.
    """
    backbone.eval().to(device)
    features, known = [], []
    for pixels, labels in batches:
        images = backbone.normalise(pixels.to(device)).contiguous()
        for view in views:
            features.append(backbone.run(images.flip(FLIPPED_AXES[view]), stop="head").float())
            known.append(labels.to(device))
    return torch.cat(features), torch.cat(known)


def solve_head(
    backbone: StagedNetwork,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    class_weights: Tensor | None = None,
    progress: Callable[[Sequence[float]], Iterable[float]] = iter,
) -> tuple[Solution, list[Solution]]:
    """Put the best head on these features into ``backbone``: of the solutions, one a weight decay, the best on val.

    The objective is the mean cross-entropy over ``train`` plus half the weight decay times the squared weights (the bias
    is free), minimised in float64 from a head of zeros. Best is the lowest val loss, which is less a matter of luck than
    the accuracy over a thousand images. A head that is more than one Linear (SqueezeNet's ReLU) is solved to a
    stationary point.

    Args:
        backbone: whose head is replaced.
        train: what enters the head, (n, ...), and labels (n,), as :func:`compute_features` returns them.
        val: the same of the images by which the best is selected.
        weight_decays: candidates.
        class_weights: of the classes in the mean over ``train``, (classes,); None: all count alike.
        progress: wraps the candidates, to show how far the search is.

    Returns:
        The best solution, and all of them.

    Raises:
        UserError: if a weight decay is not above zero: without any, separable classes have no optimum. Or if a number is
            not finite, of what enters the head or of all val losses.
    """
    validate_solvable(train[0], val[0], weight_decays)
    final = backbone.network.get_submodule(backbone.final)
    backbone.eval().to(train[0].device)
    final.double().requires_grad_(True)
    # Elsewhere a ReLU follows, which has no slope at zero.
    if isinstance(final, nn.Linear):
        nn.init.zeros_(final.weight)
        nn.init.zeros_(final.bias)
    # Features of unlike stages are to count alike; what a plain layer takes is of one stage, and stays as it is.
    scale = final.scale(train[0].double()) if isinstance(final, StageLinear) else torch.ones(1, device=train[0].device)
    # Centred features have the same optimum, the bias takes up the difference, and are solved 30 times as fast: they are
    # mostly positive, and their common part would make one direction far steeper than the others.
    centre = train[0].double().mean([dim for dim in range(train[0].ndim) if dim != 1], keepdim=True)
    train, val = (((inputs - centre) * scale, labels) for inputs, labels in (train, val))
    solutions = {}
    for decay in progress(weight_decays):
        solution = fit_final_layer(backbone, train, val, decay, class_weights)
        solutions[solution] = copy.deepcopy(final.state_dict())
    best = min(solutions, key=lambda solution: solution.val_loss if math.isfinite(solution.val_loss) else math.inf)
    if not math.isfinite(best.val_loss):
        tried = shorten(list(map(str, weight_decays)))
        raise UserError(f"The solved head has no finite val loss with any of heads.weight_decay ({tried}): try others.")
    final.load_state_dict(solutions[best])
    with torch.no_grad():
        columns = final.columns if isinstance(final, StageLinear) else slice(None)
        final.weight *= scale[columns]
        final.bias -= final.weight.flatten(1) @ centre.flatten()[columns]
    final.float()
    return best, list(solutions)


def validate_solvable(train: Tensor, val: Tensor, weight_decays: Sequence[float]) -> None:
    """Raise UserError if what enters the head is not finite, or a weight decay would leave no optimum."""
    if not weight_decays or not all(decay > 0 for decay in weight_decays):
        raise UserError(f"The head can't be solved for heads.weight_decay={list(weight_decays)}: each must be above 0.")
    validate_finite_features(train, val)


def validate_finite_features(*features: Tensor) -> None:
    """Raise UserError if what enters the head is not finite."""
    if not all(part.isfinite().all() for part in features):
        raise UserError(
            "The outputs of the frozen stages hold NaN or infinite numbers, so the head can't be solved: use "
            "cache.precision=fp32 or other backbone.weights."
        )


def run_lbfgs(measure: Callable[[], Tensor], final: nn.Module, decay: float, **options: Any) -> tuple[Tensor, int]:
    """Minimise a loss plus half the weight decay times the squared weights over a layer's parameters, by L-BFGS.

    Returns:
        The loss at the end, whose gradient with the decay's is left in the parameters, and how many iterations there were.
    """
    optimizer = LBFGS(final.parameters(), line_search_fn="strong_wolfe", **options)
    loss = torch.zeros(())

    def objective() -> Tensor:
        nonlocal loss
        optimizer.zero_grad()
        loss = measure()
        total = loss + decay / 2 * final.weight.square().sum()
        total.backward()
        return total

    optimizer.step(objective)
    objective()
    return loss.detach(), optimizer.state[next(iter(final.parameters()))]["n_iter"]


def fit_final_layer(
    backbone: StagedNetwork,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    decay: float,
    class_weights: Tensor | None,
) -> Solution:
    """Minimise the objective over the final layer's parameters, from where they are; see :func:`solve_head`."""
    final, (inputs, labels) = backbone.network.get_submodule(backbone.final), train
    # LBFGS stops by the largest slope. With this one the gap ends well below 1e-6, and val losses differ after four digits.
    slope = (2 * decay * 1e-6) ** 0.5 / 100
    weights = None if class_weights is None else class_weights.to(labels.device, torch.float64)

    def measure() -> Tensor:
        # The weights' mean over the training images is 1, so to divide by their sum is to take the plain mean.
        return cross_entropy(backbone.run(inputs, "head"), labels, weights)

    options = {"max_iter": MOST_ITERATIONS, "history_size": 20, "tolerance_grad": slope, "tolerance_change": 0}
    loss, iterations = run_lbfgs(measure, final, decay, **options)
    gap = sum(parameter.grad.square().sum().item() for parameter in final.parameters()) / (2 * decay)
    final.zero_grad()
    with torch.no_grad():
        logits, answers = backbone.run(val[0], "head"), val[1]
    val_loss, accuracy = cross_entropy(logits, answers).item(), (logits.argmax(1) == answers).double().mean().item()
    return Solution(decay, loss.item(), val_loss, accuracy, gap, iterations)

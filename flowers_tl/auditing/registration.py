"""Whether one image is a copy of another: the second is laid over the first, and their fine details are compared.

The second image is scaled and shifted until it fits the first, by the Gauss-Newton method (Lucas and Kanade 1981), from
coarse to fine, as it is and mirrored. A copy then has the same fine details; another photograph of the same thing has not.
"""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from flowers_tl.utils.notes import track

# Pairs at a time, and Gauss-Newton steps at each of three sizes.
BATCH, STEPS = 512, 8
# Scales and shifts along both axes: no change, and how much larger a copy may be, and how far shifted, in half sides.
SAME, MOST = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.35] * 4)
# Correlation of coarse copies below which no finer ones are compared.
COARSE = 0.7


def register(small: Tensor, pairs: Tensor) -> Tensor:
    """Correlation of the fine details of pairs (m, 2) of grey images, uint8 (n, side, side): float32 (m,), near 1 for copies."""
    scores = [register_some(small, some) for some in track(pairs.split(BATCH), "Comparing pixels") if len(some)]
    return torch.cat([torch.empty(0), *scores])


def register_some(small: Tensor, pairs: Tensor) -> Tensor:
    first, second = (small[column].float().unsqueeze(1) / 255 for column in pairs.T)
    first, second = first.repeat(2, 1, 1, 1), torch.cat([second, second.flip(-1)])
    fit, scores, left = SAME.repeat(len(first), 1), torch.zeros(len(first)), torch.arange(len(first))
    for step in (4, 2, 1):
        if len(left):
            a, b = (avg_pool2d(images[left], step) for images in (first, second))
            fit[left] = align(a, b, fit[left])
            left = left[correlate(a, b, fit[left]) >= COARSE]
    if len(left):
        a, b = (images[left] - avg_pool2d(images[left], 5, 1, 2, count_include_pad=False) for images in (first, second))
        scores[left] = correlate(a, b, fit[left])
    return scores.view(2, -1).amax(0)


def lay_over(images: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
    """Images (n, channels, side, side) scaled and shifted, as (n, channels, pixels), and weights (n, pixels) of what lies within."""
    matrix = torch.diag_embed(fit[:, :2])
    places = affine_grid(torch.cat([matrix, fit[:, 2:, None]], 2), list(images.shape), align_corners=False)
    inside = (places.abs() <= 1).all(-1).flatten(1).float()
    warped = grid_sample(images, places, padding_mode="border", align_corners=False)
    return warped.flatten(2), inside / inside.sum(1, keepdim=True)


def normalised(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n, pixels) with mean 0 and deviation 1 under the weights, and the deviation (n, 1)."""
    centred = values - (values * weights).sum(1, keepdim=True)
    deviation = (centred.square() * weights).sum(1, keepdim=True).sqrt() + 1e-4
    return centred / deviation, deviation


def correlate(first: Tensor, second: Tensor, fit: Tensor) -> Tensor:
    """Correlation of images with others that are laid over them, (n,)."""
    warped, weights = lay_over(second, fit)
    return (normalised(first.flatten(1), weights)[0] * normalised(warped[:, 0], weights)[0] * weights).sum(1)


def align(first: Tensor, second: Tensor, fit: Tensor) -> Tensor:
    """Improve scales and shifts (n, 4) so that the second images, laid over the first, differ least from them."""
    side = first.shape[-1]
    steps = (torch.arange(side) + 0.5) * 2 / side - 1
    channels = torch.cat([second, *(slope * side / 2 for slope in torch.gradient(second, dim=(-1, -2)))], 1)
    for _ in range(STEPS):
        warped, weights = lay_over(channels, fit)
        a, (b, deviation) = normalised(first.flatten(1), weights)[0], normalised(warped[:, 0], weights)
        right, down = warped[:, 1] / deviation, warped[:, 2] / deviation
        changes = [right * steps.repeat(side), down * steps.repeat_interleave(side), right, down]
        # The last two columns take up what brightness and contrast explain.
        columns = torch.stack([*changes, torch.ones_like(b), b], -1)
        weighted = (columns * weights.unsqueeze(-1)).mT
        change = torch.linalg.solve(weighted @ columns + 1e-3 * torch.eye(6), weighted @ (a - b).unsqueeze(-1))
        fit = torch.minimum(torch.maximum(fit + change[:, :4, 0], SAME - MOST), SAME + MOST)
    return fit

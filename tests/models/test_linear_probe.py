"""A solved head is the optimum, found on features of the frozen network, and chosen by val."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flowers_tl.data.transforms import normalise
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.linear_probe import compute_features, solve_head
from flowers_tl.utils.errors import UserError

CPU = torch.device("cpu")


def noisy(n, seed, classes=3, channels=512):
    """Features as a ReLU network has them: positive, with a large common part; labels follow from a few of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    x = torch.rand(n, channels, generator=generator) + 2.0
    x[torch.arange(n), labels] += 0.3
    return x, labels


def same(found, expected):
    """Whether two tensors differ by rounding alone, which grows with the largest values that were added up."""
    return found.shape == expected.shape and (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return StagedNetwork("resnet18", 3)


def test_features_are_what_enters_the_head_mirrored_ones_beside(backbone):
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    batches = [(pixels[:2], torch.tensor([0, 1])), (pixels[2:], torch.tensor([2]))]
    found, labels = compute_features(backbone, batches, CPU)
    images = normalise(pixels)
    with torch.no_grad():
        assert same(backbone.run(found, start="head"), backbone(images))
    assert labels.tolist() == [0, 1, 2]
    both, labels = compute_features(backbone, batches, CPU, ("centre", "mirrored"))
    with torch.no_grad():
        expected = backbone.run(images.flip(-1), stop="head")
    assert labels.tolist() == [0, 1, 0, 1, 2, 2]
    assert same(both[[0, 1, 4]], found)
    assert same(both[[2, 3, 5]], expected)


def test_nothing_beats_the_solution(backbone):
    x, y = noisy(60, seed=1)
    best, (only,) = solve_head(backbone, (x, y), noisy(30, seed=2), weight_decays=[1e-2])
    assert best == only
    final = backbone.network.fc

    def objective(weight, bias):
        return cross_entropy(x.double() @ weight.T + bias, y) + 1e-2 / 2 * weight.square().sum()

    weight, bias = (p.detach().double().requires_grad_() for p in (final.weight, final.bias))
    found = objective(weight, bias)
    for gradient in torch.autograd.grad(found, (weight, bias)):
        assert gradient.abs().max() < 1e-4  # the solution is rounded to float32
    generator = torch.Generator().manual_seed(3)
    for scale in (1e-3, 1e-2, 1e-1):
        other = objective(weight + scale * torch.randn(weight.shape, generator=generator, dtype=torch.double), bias)
        assert other > found
    assert only.gap < 1e-6
    assert only.train_loss == pytest.approx(cross_entropy(backbone.run(x, start="head"), y).item(), rel=1e-4)


def test_the_solution_agrees_with_plain_gradient_descent(backbone):
    x, y = noisy(40, seed=1, channels=512)
    solve_head(backbone, (x, y), noisy(20, seed=2), weight_decays=[1e-1])
    centred = (x - x.mean(0)).double()
    weight, bias = (
        torch.zeros(3, 512, dtype=torch.double, requires_grad=True),
        torch.zeros(3, dtype=torch.double, requires_grad=True),
    )
    optimizer = torch.optim.SGD([weight, bias], lr=0.2)
    for _ in range(3000):
        optimizer.zero_grad()
        (cross_entropy(centred @ weight.T + bias, y) + 0.05 * weight.square().sum()).backward()
        optimizer.step()
    assert torch.allclose(backbone.network.fc.weight.double(), weight, atol=1e-4)


def test_val_loss_chooses_the_weight_decay(backbone):
    train, val = noisy(30, seed=1), noisy(60, seed=2)
    best, solutions = solve_head(backbone, train, val)
    assert best.val_loss == min(solution.val_loss for solution in solutions)
    assert [s.weight_decay for s in solutions] == sorted((s.weight_decay for s in solutions), reverse=True)
    with torch.no_grad():
        logits = backbone.eval().run(val[0], start="head")
    assert best.val_loss == pytest.approx(cross_entropy(logits, val[1]).item(), rel=1e-4)
    assert best.val_accuracy == pytest.approx((logits.argmax(1) == val[1]).float().mean().item())
    assert backbone.network.fc.weight.dtype == torch.float32


def test_a_head_of_convolution_and_relu_is_solved_too():
    torch.manual_seed(0)
    backbone = StagedNetwork("squeezenet1_1", 3).eval()
    torch.manual_seed(1)
    labels = torch.arange(30) % 3
    x = torch.rand(30, 512, 3, 3)
    x[torch.arange(30), labels] += 1.0
    with torch.no_grad():
        before = cross_entropy(backbone.run(x, start="head"), labels).item()
    best, _ = solve_head(backbone, (x, labels), (x, labels), weight_decays=[1e-3])
    with torch.no_grad():
        after = cross_entropy(backbone.run(x, start="head"), labels).item()
    assert after == pytest.approx(best.val_loss, rel=1e-3)
    assert after < before / 5


@pytest.mark.parametrize("decays", [[], [0.0], [1e-3, -1.0]])
def test_without_weight_decay_there_is_no_optimum(backbone, decays):
    with pytest.raises(UserError, match="each must be above 0"):
        solve_head(backbone, noisy(6, 1), noisy(6, 2), weight_decays=decays)


@pytest.mark.parametrize("place", ["train", "val"])
def test_features_that_overflowed_are_refused_before_they_are_solved(backbone, place):
    found = {"train": noisy(20, 0), "val": noisy(20, 1)}
    found[place][0][3, 7] = float("inf")
    with pytest.raises(
        UserError, match=r"NaN or infinite numbers, so the head can't be solved: use cache\.precision=fp32"
    ):
        solve_head(backbone, **found)

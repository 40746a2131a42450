"""Heads that are not the library's last layer: what they compute, and what they refuse."""

import math

import pytest
import torch

from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.frozen_heads import NearestNeighbours, choose_neighbours
from flowers_tl.models.linear_probe import solve_head
from flowers_tl.utils.errors import UserError

KNN = {"name": "knn", "table": [], "head": "neighbours"}
SIDE = {"name": "side", "table": [], "head": "solved", "head_from": [":-1", "neck"]}


def blobs(n: int, seed: int, width: int = 512, noise: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(9))
    return centres[labels] + noise * torch.randn(n, width, generator=generator), labels


def test_each_neighbour_has_a_vote_by_its_similarity():
    (train, known), (val, _) = blobs(12, 1, width=5), blobs(4, 2, width=5)
    head = NearestNeighbours(5, 3)
    assert not list(head.parameters())
    head.remember(train, known)
    head.choose(4)
    centre, spread = train.mean(0), train.std(0, unbiased=False)
    logits = head(val)
    for image, row in zip(val, logits, strict=True):
        others = [((image - centre) / spread, (other - centre) / spread) for other in train]
        similar = sorted(
            ((torch.cosine_similarity(a, b, dim=0).item(), known[k].item()) for k, (a, b) in enumerate(others)),
            reverse=True,
        )[:4]
        votes = [math.exp((similar[-1][0] - 1) / 0.07) / 3] * 3
        for s, label in similar:
            votes[label] += math.exp((s - 1) / 0.07)
        torch.testing.assert_close(row.softmax(0), torch.tensor(votes) / sum(votes), rtol=1e-3, atol=1e-5)


def test_val_accuracy_chooses_how_many_neighbours_vote():
    torch.manual_seed(0)
    train, val = blobs(60, 1, noise=12.0), blobs(40, 2, noise=12.0)
    backbone = TransferClassifier("resnet18", 3, KNN).backbone
    best, votes = choose_neighbours(backbone, train, val)
    assert [vote.neighbours for vote in votes] == [1, 2, 5, 10, 20, 50]
    assert best.val_accuracy == max(vote.val_accuracy for vote in votes) > votes[0].val_accuracy
    logits = backbone.run(val[0], start="head")
    assert (logits.argmax(1) == val[1]).double().mean().item() == best.val_accuracy
    assert logits.isfinite().all()
    assert choose_neighbours(backbone, train, val, [7])[0].neighbours == 7


def test_a_state_dict_brings_its_images_along():
    train, val = blobs(30, 1), blobs(10, 2)
    one, other = (TransferClassifier("resnet18", 3, KNN).eval() for _ in range(2))
    choose_neighbours(one.backbone, train, val, [3])
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(val[0], "head"), other(val[0], "head"))


def test_over_the_neck_alone_it_is_the_plain_linear_probe():
    """Where all features have one variance, the head over the neck is the plain one's, and neither depends on other stages."""
    torch.manual_seed(0)
    (train, known), (val, answers) = blobs(30, 1), blobs(20, 2)
    train, val = ((x - train.mean(0)) / train.std(0, unbiased=False) for x in (train, val))
    plain = TransferClassifier("resnet18", 3, {"name": "probe", "table": [], "head": "solved"}).backbone
    side = TransferClassifier("resnet18", 3, SIDE | {"head_from": ["neck"]}).backbone
    others = [torch.randn(len(x), 64 + 64 + 128 + 256 + 512) for x in (train, val)]
    wide = [torch.cat(parts, 1) for parts in zip(others, (train, val), strict=True)]
    solve_head(plain, (train, known), (val, answers), [1e-3])
    solve_head(side, (wide[0], known), (wide[1], answers), [1e-3])
    torch.testing.assert_close(side.run(wide[1], "head"), plain.run(val, "head"), rtol=1e-3, atol=1e-3)


def test_a_large_stage_and_a_small_one_count_alike():
    """The head does not change where the outputs of a stage are multiplied by a constant."""
    torch.manual_seed(0)
    (train, known), (val, answers) = blobs(30, 1, width=1024), blobs(20, 2, width=1024)
    logits = []
    for factor in (1.0, 1000.0):
        backbone = TransferClassifier("resnet18", 3, SIDE | {"head_from": ["layer4", "neck"]}).backbone
        one, two = (torch.cat([torch.zeros(len(x), 512), x * factor_of(factor)], 1) for x in (train, val))
        solve_head(backbone, (one, known), (two, answers), [1e-2])
        logits.append(backbone.run(two, "head"))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-2, atol=1e-3)


def factor_of(factor: float) -> torch.Tensor:
    return torch.cat([torch.full((512,), factor), torch.ones(512)])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (SIDE | {"head_from": ["layer5", "neck"]}, "names stage 'layer5', which this backbone lacks"),
        (SIDE | {"head_from": ["head"]}, r"strategy\.head_from=\['head'\] names no stage before the head"),
        (SIDE | {"head_from": []}, r"strategy\.head_from=\[\] must be a list with a value"),
        (SIDE | {"head": "random"}, r"strategy\.head_from=\[.*\] must be .* beside strategy\.head=solved"),
        (KNN | {"head_from": ["neck"]}, r"strategy\.head_from=\['neck'\] must be .* beside strategy\.head=solved"),
        (SIDE | {"neighbours": [5]}, r"strategy\.neighbours=\[5\] must be .* beside strategy\.head=neighbours"),
        (SIDE | {"table": [{"stage": "layer4", "lr": 1e-3}]}, "its head is computed once"),
        (KNN | {"table": [{"stage": "head", "lr": 1e-3}]}, "its head is computed once"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(words, sentence):
    with torch.device("meta"), pytest.raises(UserError, match=sentence):
        TransferClassifier("resnet18", 3, words)


def test_an_image_size_that_the_network_can_not_take_is_refused():
    with torch.device("meta"), pytest.raises(UserError, match=r"data\.image_size=31 does not fit convnext_tiny"):
        TransferClassifier("convnext_tiny", 3, SIDE, image_size=31)

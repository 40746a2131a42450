"""Orders and crops follow from (seed, epoch, image), and from nothing else."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from flowers_tl.data.cached.decoded_images import DecodedImages
from flowers_tl.data.datamodule import unchanged
from flowers_tl.data.image_crops import ImageCrops
from flowers_tl.data.sampling import BalancedSampler, EpochSampler, balancing_weights, derive_seed, evaluation_batch


def noise(image: Image.Image) -> torch.Tensor:
    """An augmentation that draws from torch's generator, as torchvision's do."""
    return torch.rand(3) + image.getpixel((0, 0))[0]


def noisy(seed: int) -> ImageCrops:
    """Ten images of which each is its number, and the noise that is drawn for it."""
    kept = [torch.full((2, 2, 3), number, dtype=torch.uint8) for number in range(10)]
    return ImageCrops(DecodedImages([Path(str(k)) for k in range(10)], None, kept), range(10), 2, seed, noise)


def read(workers: int, epoch: int, seed: int = 0) -> torch.Tensor:
    sampler = EpochSampler(10, seed)
    sampler.set_epoch(epoch)
    loader = DataLoader(noisy(seed), sampler=sampler, batch_size=4, num_workers=workers, collate_fn=unchanged)
    return torch.cat([images for images, _ in loader])


def test_workers_do_not_change_what_is_drawn():
    torch.manual_seed(1)
    alone = read(workers=0, epoch=3)
    torch.manual_seed(2)
    assert torch.equal(alone, read(workers=2, epoch=3))


def test_epochs_and_seeds_differ():
    first = read(0, epoch=0)
    assert not torch.equal(first, read(0, epoch=1))
    assert not torch.equal(first, read(0, epoch=0, seed=1))


def test_each_epoch_has_an_order_of_its_own():
    sampler = EpochSampler(10, seed=0)
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert orders[0] != orders[1]


def test_a_image_is_another_crop_in_another_epoch_and_seed():
    def crop(seed, *key):
        return noisy(seed)[key][0]

    assert torch.equal(crop(0, 3, 7), crop(0, 3, 7))
    assert not torch.equal(crop(0, 3, 7), crop(0, 4, 7))
    assert not torch.equal(crop(0, 3, 7), crop(1, 3, 7))


def test_reading_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    noisy(0)[0, 1]
    assert torch.equal(torch.rand(2), expected)


def test_living_workers_learn_of_the_next_epoch():
    sampler = EpochSampler(10, seed=0)
    dataset = noisy(0)
    loader = DataLoader(
        dataset, sampler=sampler, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=unchanged
    )
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(torch.cat([images for images, _ in loader]))
    assert torch.equal(epochs[1], read(0, epoch=1))


def test_every_epoch_takes_every_image_once():
    sampler = EpochSampler(23, seed=4)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert {e for e, _ in pairs} == {epoch}
        assert sorted(index for _, index in pairs) == list(range(23))


@pytest.mark.parametrize("size", [1, 10, 11])
def test_processes_share_one_order_equally(size):
    whole = [index for _, index in EpochSampler(size, seed=0)]
    parts = [[index for _, index in EpochSampler(size, 0, rank, world=3)] for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    dealt = [part[k] for k in range(len(parts[0])) for part in parts]
    assert dealt[:size] == whole
    assert set(dealt) == set(whole)


def test_derived_seeds_are_stable_and_apart():
    assert derive_seed(0, 1, 2) == derive_seed(0, 1, 2)
    assert len({derive_seed(seed, epoch, k) for seed in range(10) for epoch in range(10) for k in range(10)}) == 1000


LABELS = [0] * 30 + [1] * 7 + [2] * 3


def epochs(sampler: EpochSampler, count: int) -> list[list[int]]:
    """The indices of the first epochs."""
    found = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert {e for e, _ in pairs} == {epoch}
        found.append([index for _, index in pairs])
    return found


def test_a_balanced_epoch_is_as_long_and_takes_every_class_equally_often():
    for order in epochs(BalancedSampler(LABELS, seed=0), 4):
        counts = np.bincount([LABELS[index] for index in order])
        assert counts.sum() == 40
        assert sorted(counts) == [13, 13, 14]
        for label in (1, 2):  # each of a small class's images as often as the others, but for one
            taken = np.bincount(order, minlength=40)[np.array(LABELS) == label]
            assert taken.max() - taken.min() <= 1
        assert len({index for index in order if LABELS[index] == 0}) == counts[0], "none of a large class comes twice"


def test_balanced_orders_follow_from_seed_and_epoch():
    own = epochs(BalancedSampler(LABELS, seed=0), 3)
    assert own == epochs(BalancedSampler(LABELS, seed=0), 3)
    assert own[0] != own[1]
    assert own[0] != epochs(BalancedSampler(LABELS, seed=1), 1)[0]
    assert {LABELS[index] for index in own[0][:10]} == {0, 1, 2}, "classes are mixed"
    large = {index for order in epochs(BalancedSampler(LABELS, seed=0), 10) for index in order}
    assert large == set(range(40)), "every image has its turn"


def test_processes_share_a_balanced_order():
    whole = epochs(BalancedSampler(LABELS, seed=0), 1)[0]
    parts = [epochs(BalancedSampler(LABELS, 0, rank, world=4), 1)[0] for rank in range(4)]
    assert [parts[k % 4][k // 4] for k in range(40)] == whole


def test_balancing_weights_give_every_class_the_same_part():
    weights = np.array(balancing_weights(LABELS, 4))
    counts = np.array([30, 7, 3])
    assert weights[:3] * counts == pytest.approx(40 / 3)
    assert weights[3] == 0
    assert weights[LABELS].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("size", "device", "limit", "expected"),
    [
        (32, "cuda", 1.0, 256),
        (4, "cuda", 1.0, 32),
        (512, "cuda", 1.0, 512),
        # A limit of ten batches means as many images as on a CPU, whose batches stay.
        (32, "cuda", 10, 32),
        (32, "cpu", 1.0, 32),
    ],
)
def test_only_a_gpu_that_measures_all_images_takes_larger_batches(size, device, limit, expected):
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer = SimpleNamespace(strategy=strategy, limit_val_batches=limit, limit_test_batches=1.0)
    assert evaluation_batch(size, trainer) == expected
    assert evaluation_batch(size, None) == size

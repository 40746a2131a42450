"""Orders and crops follow from (seed, epoch, picture), and from nothing else."""

import pytest
import torch
from torch.utils.data import DataLoader

from flowers_tl.data.sampling import EpochSampler, SeededPictures, derive_seed


class Noise:
    """Pictures whose 'transform' draws from torch's generator, as random crops do."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.rand(3) + index, index


def read(workers: int, epoch: int, seed: int = 0) -> torch.Tensor:
    sampler = EpochSampler(10, seed)
    sampler.set_epoch(epoch)
    loader = DataLoader(SeededPictures(Noise(), seed), sampler=sampler, batch_size=4, num_workers=workers)
    return torch.cat([pictures for pictures, _ in loader])


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


def test_a_picture_is_another_crop_in_another_epoch_and_seed():
    def crop(seed, *key):
        return SeededPictures(Noise(), seed)[key][0]

    assert torch.equal(crop(0, 3, 7), crop(0, 3, 7))
    assert not torch.equal(crop(0, 3, 7), crop(0, 4, 7))
    assert not torch.equal(crop(0, 3, 7), crop(1, 3, 7))


def test_reading_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    SeededPictures(Noise(), 0)[0, 1]
    assert torch.equal(torch.rand(2), expected)


def test_living_workers_learn_of_the_next_epoch():
    sampler = EpochSampler(10, seed=0)
    dataset = SeededPictures(Noise(), 0)
    loader = DataLoader(dataset, sampler=sampler, batch_size=4, num_workers=1, persistent_workers=True)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(torch.cat([pictures for pictures, _ in loader]))
    assert torch.equal(epochs[1], read(0, epoch=1))


def test_every_epoch_takes_every_picture_once():
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

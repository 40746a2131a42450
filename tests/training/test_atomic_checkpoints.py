"""Checkpoints that are replaced and never changed, of which one moment of training is written once."""

import os

import pytest
import torch

from flowers_tl.training.trainer import AtomicCheckpoints


def content(step, **more):
    return {"epoch": step, "global_step": step, "state_dict": {"weight": torch.full((3,), float(step))}, **more}


@pytest.fixture
def places(tmp_path):
    return tmp_path / "checkpoints" / "best.ckpt", tmp_path / "checkpoints" / "last.ckpt"


def steps(*files):
    return [torch.load(file, weights_only=True)["global_step"] for file in files]


def test_the_best_epoch_stays_when_the_last_one_is_replaced(places):
    plugin, (best, last) = AtomicCheckpoints(), places
    plugin.save_checkpoint(content(1), best)
    plugin.save_checkpoint(content(1), last)
    assert best.samefile(last)
    plugin.save_checkpoint(content(2), last)
    assert steps(best, last) == [1, 2]
    plugin.save_checkpoint(content(3), best)
    plugin.save_checkpoint(content(3), last)
    assert steps(best, last) == [3, 3]
    assert sorted(os.listdir(best.parent)) == ["best.ckpt", "last.ckpt"]


def test_another_content_of_the_same_moment_is_another_file(places):
    plugin, (best, last) = AtomicCheckpoints(), places
    plugin.save_checkpoint(content(1), best)
    plugin.save_checkpoint(content(1, optimizer_states=[]), last)
    assert "optimizer_states" in torch.load(last, weights_only=True)
    assert "optimizer_states" not in torch.load(best, weights_only=True)


def test_a_link_that_a_kill_has_left_does_not_lead_into_the_best_epoch(places):
    best, last = places
    AtomicCheckpoints().save_checkpoint(content(1), best)
    os.link(best, f"{last}.new")
    AtomicCheckpoints().save_checkpoint(content(2), last)
    assert steps(best, last) == [1, 2]


def test_one_place_is_written_twice_in_one_moment_without_a_trace(places):
    plugin, (best, _) = AtomicCheckpoints(), places
    plugin.save_checkpoint(content(1), best)
    plugin.save_checkpoint(content(1), best)
    assert os.listdir(best.parent) == ["best.ckpt"]


@pytest.mark.parametrize("gone", [True, False])
def test_it_is_written_where_no_link_can_be(places, monkeypatch, gone):
    def refuse(*_):
        raise PermissionError

    plugin, (best, last) = AtomicCheckpoints(), places
    plugin.save_checkpoint(content(1), best)
    if gone:
        best.unlink()
    else:
        monkeypatch.setattr(os, "link", refuse)
    plugin.save_checkpoint(content(1), last)
    assert steps(last) == [1]

"""An exported file must answer as the checkpoint does, at any number of images; ties that rounding decides are counted."""

import pytest
import torch

from flowers_tl.exporting.verify import TOLERANCE, compare
from flowers_tl.utils.errors import UserError

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0 + 0.5 * TOLERANCE, 0.0]])


def logits(inputs):
    return LOGITS[inputs[:, 0, 0, 0].long()]


def asked(answer):
    inputs = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    return compare(logits, {"file": answer}, [(["a.jpg", "b.jpg"], inputs)])["file"]


def test_rounding_is_no_difference():
    found = asked(lambda inputs: logits(inputs) - 0.9 * TOLERANCE)
    assert (found.images, found.ties) == (2, 0)
    assert found.largest == pytest.approx(0.9 * TOLERANCE, rel=1e-2)


def test_a_tie_that_rounding_decides_is_counted_and_no_fault():
    found = asked(lambda inputs: logits(inputs) + torch.tensor([0.6, 0, 0]) * TOLERANCE)
    assert (found.images, found.ties) == (2, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda own: own + 2 * TOLERANCE, "a.jpg a logit differs by 0.0002"),
        (lambda own: own * torch.tensor([float("nan"), 1, 1]), "a.jpg a logit differs by nan"),
        (lambda own: own + torch.tensor([2.0, 0, 0]) * TOLERANCE * (own[:, :1] < 2), "b.jpg.*another class is first"),
    ],
)
def test_what_is_more_than_rounding_is_refused_with_the_image(change, words):
    with pytest.raises(UserError, match=words):
        asked(lambda inputs: change(logits(inputs)))


def test_a_class_that_the_network_tells_from_the_next_is_not_lost_within_the_tolerance(monkeypatch):
    monkeypatch.setitem(globals(), "LOGITS", torch.tensor([[3.0, 1, 0], [1.0, 1.0 + 1.5 * TOLERANCE, 0]]))
    with pytest.raises(UserError, match=r"b.jpg.*another class is first"):
        asked(lambda inputs: logits(inputs) + torch.tensor([0.9, -0.9, 0]) * TOLERANCE)


@pytest.mark.parametrize("count", [1, 4])
def test_a_difference_at_another_batch_size_is_found(count):
    with pytest.raises(UserError, match="gives other results than the checkpoint"):
        asked(lambda inputs: logits(inputs) + (len(inputs) == count))


def test_a_file_that_takes_one_size_of_batch_alone_is_refused():
    def fixed(inputs):
        if len(inputs) != 2:
            raise RuntimeError("got 1, expected 2\nmore")
        return logits(inputs)

    with pytest.raises(UserError, match=r"does not work with every batch size \(got 1, expected 2\)"):
        asked(fixed)

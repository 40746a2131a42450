"""When a trial of a search is stopped early."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from flowers_tl.results.scores import METRICS
from flowers_tl.tuning.pruning import Pruned, PruningCallback


@pytest.mark.parametrize(("epoch", "stops"), [(0, False), (1, False), (2, True), (7, True), (8, False)])
def test_a_trial_is_pruned_neither_at_its_beginning_nor_at_its_end(epoch, stops):
    behind = SimpleNamespace(report=lambda value, step: None, should_prune=lambda: True)
    state = SimpleNamespace(fn="fit")
    trainer = SimpleNamespace(
        state=state, sanity_checking=False, callback_metrics={"val/accuracy": 0.1}, current_epoch=epoch, max_epochs=9
    )
    with pytest.raises(Pruned) if stops else nullcontext():
        PruningCallback(behind, METRICS[0]).on_validation_end(trainer, None)

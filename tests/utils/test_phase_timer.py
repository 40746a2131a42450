"""Every second belongs to one phase."""

from contextlib import suppress

import pytest

from flowers_tl.utils.phase_timer import PHASES, PhaseTimer


@pytest.fixture
def wait(monkeypatch):
    """Let seconds pass: a function of their number."""
    now = [100.0]
    monkeypatch.setattr("flowers_tl.utils.phase_timer.time.perf_counter", lambda: now[0])

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


def test_a_phase_within_another_has_its_own_seconds(wait):
    clock = PhaseTimer()
    wait(1)
    with clock.timed("fit"):
        wait(2)
        with clock.timed("decode"):
            wait(4)
        wait(8)
        assert clock.elapsed("fit") == 10
    wait(16)
    assert clock.summary() == {**dict.fromkeys(PHASES, 0), "fit": 10, "decode": 4, "other": 17, "total": 31}


def test_an_error_ends_its_phase(wait):
    clock = PhaseTimer()
    with suppress(KeyError), clock.timed("fit"):
        wait(2)
        raise KeyError
    wait(3)
    assert (clock.elapsed("fit"), clock.elapsed("other")) == (2, 3)


def test_while_it_is_stopped_nothing_counts(wait):
    clock = PhaseTimer()
    with clock.timed("fit"):
        wait(1)
        with clock.stopped():
            wait(50)
        wait(1)
    assert clock.summary()["total"] == clock.elapsed("fit") == 2

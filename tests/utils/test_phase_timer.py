"""Every second belongs to one phase."""

from contextlib import suppress

from flowers_tl.utils.phase_timer import PHASES, PhaseTimer


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
    assert clock.summary() == {**dict.fromkeys(PHASES, 0), "fit": 10, "decode": 4, "other": 17, "total": 31, "cold": 31}


def test_an_error_ends_its_phase(wait):
    clock = PhaseTimer()
    with suppress(KeyError), clock.timed("fit"):
        wait(2)
        raise KeyError
    wait(3)
    assert (clock.elapsed("fit"), clock.elapsed("other")) == (2, 3)


def test_cold_seconds_have_the_cost_of_each_entry_once_and_not_what_it_took_here(wait):
    clock = PhaseTimer()
    wait(1)
    with clock.timed("prefix", "features"):
        wait(2)
        with clock.timed("decode", "images"):
            wait(4)
        with clock.timed("decode"):
            wait(8)
    assert (clock.spent_on("features"), clock.spent_on("images"), clock.spent_on("others")) == (10, 4, 0)
    clock.use({"images": 40, "features": 100})
    clock.use({"images": 40})
    assert clock.kept == {"here": -14, "images": 40, "features": 100}
    assert (clock.summary()["total"], clock.summary()["cold"]) == (15, 141)


def test_with_an_unknown_cost_there_are_no_cold_seconds(wait):
    clock = PhaseTimer()
    clock.use({"images": None})
    assert "cold" not in clock.summary()
    clock.use({"images": 40})
    clock.use({"images": None})  # an entry that was built from it before it was built anew
    assert clock.summary()["cold"] == 40


def test_a_run_that_goes_on_counts_an_entry_of_both_parts_once(wait):
    first, second = PhaseTimer(), PhaseTimer()
    with first.timed("decode", "images"):
        wait(5)
    first.use({"images": 40, "hashes": 7})
    before, kept = first.summary(), first.kept
    second = PhaseTimer()
    with second.timed(entry="images"):
        wait(1)
    wait(2)
    second.use({"images": 40, "features": 100})
    second.add_earlier_run(before, kept)
    assert second.summary()["total"] == 8
    assert second.summary()["cold"] == 2 + 40 + 7 + 100
    second.use({"features": 100})
    assert second.summary()["cold"] == 149


def test_while_it_is_stopped_nothing_counts(wait):
    clock = PhaseTimer()
    with clock.timed("fit"):
        wait(1)
        with clock.stopped():
            wait(50)
        wait(1)
    assert clock.summary()["total"] == clock.elapsed("fit") == 2

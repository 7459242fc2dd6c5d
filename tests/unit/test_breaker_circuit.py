"""The pure state machine: open times, probes, ramps, repairs and modes. Interleavings are the model test's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.breaker.circuit import (
    NOTHING_ORDERED,
    PROBE,
    Circuit,
    Ordered,
    Result,
    admit,
    at,
    closed,
    half_opened,
    makes_room,
    open_time,
    opened,
    opens_for,
    probed,
    repairing,
    shifted,
    shown,
    under,
)
from recovery.breaker.judgement import Counts, verdict
from recovery.breaker.options import BreakerOptions, Mode

OPTIONS = BreakerOptions(success_threshold=2, reset_timeout=10.0, half_open_requests=2, permit_timeout=5.0, jitter=0)
RAMP = BreakerOptions(success_threshold=1, reset_timeout=10.0, ramp=(10, 50), ramp_stage=5, jitter=0)
PROBING = Circuit(state="half_open", streak=1, trips=1)


def test_open_times_grow_up_to_the_ceiling_and_begin_anew_after_a_closing() -> None:
    circuit, lasted = Circuit(), []
    for _ in range(8):
        circuit = opened(half_opened(circuit), OPTIONS, 0.0, 0.5, "")
        lasted.append(circuit.retry_at)

    assert lasted == [10, 20, 40, 80, 160, 320, 600, 600]
    assert opened(closed(circuit), OPTIONS, 0.0, 0.5, "").retry_at == 10


@given(openings=st.integers(0, 10_000), draw=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1), factor=st.floats(1, 100))
def test_an_open_time_stays_within_its_jitter_and_below_its_ceiling(openings: int, draw: float, jitter: float, factor: float) -> None:
    options = BreakerOptions(reset_timeout=7, max_reset_timeout=300, backoff_factor=factor, jitter=jitter)

    seconds = open_time(options, openings, draw)

    assert 7 * (1 - jitter) - 1e-9 <= seconds <= 300
    if openings == 0:
        assert seconds <= 7 * (1 + jitter) + 1e-9


def test_a_ceiling_below_the_reset_timeout_counts_for_nothing() -> None:
    assert open_time(BreakerOptions(reset_timeout=900, max_reset_timeout=600, jitter=0), 3, 0.5) == 900


def test_probes_prove_it_one_by_one_and_a_failed_one_opens_it_again() -> None:
    once = probed(PROBING, OPTIONS, 0.0, "ok", PROBE, 0.5)
    assert (once.state, once.successes) == ("half_open", 1)
    assert probed(once, OPTIONS, 0.0, "ok", PROBE, 0.5) == Circuit(trips=1)

    again = probed(once, OPTIONS, 3.0, "failed", PROBE, 0.5, "ValueError: boom")
    assert (again.state, again.retry_at, again.streak, again.trips, again.reason) == ("open", 23.0, 2, 2, "ValueError: boom")


@pytest.mark.parametrize("result", ["ok", "failed", "void"])
def test_only_a_permit_that_was_given_counts(result: Result) -> None:
    assert probed(PROBING, OPTIONS, 0.0, result, "somebody", 0.5) is PROBING
    assert probed(Circuit(), OPTIONS, 0.0, result, PROBE, 0.5) == Circuit()


def test_a_permit_that_nobody_gave_back_is_free_again_in_time() -> None:
    circuit, first = admit(PROBING, OPTIONS, 0.0, "a", 0.5)
    circuit, second = admit(circuit, OPTIONS, 2.0, "b", 0.5)
    circuit, third = admit(circuit, OPTIONS, 3.0, "c", 0.5)
    circuit, fourth = admit(circuit, OPTIONS, 5.0, "d", 0.5)

    assert (first.permit, second.permit, fourth.permit) == ("a", "b", "d")
    assert (third.allowed, third.retry_after) == (False, 2.0)


def test_a_ramp_lets_more_and_more_through_and_ends_by_itself() -> None:
    circuit = probed(PROBING, RAMP, 100.0, "ok", PROBE, 0.5)
    assert (circuit.stage, circuit.stage_until) == (1, 105.0)

    def allowed(now: float, draw: float) -> bool:
        return admit(circuit, RAMP, now, "p", draw)[1].allowed

    assert [allowed(100.0, 0.099), allowed(104.9, 0.1), allowed(105.0, 0.1), allowed(105.0, 0.5)] == [True, False, True, False]
    assert at(circuit, RAMP, 109.9).stage == 2
    assert at(circuit, RAMP, 110.0) == at(circuit, RAMP, 9_999.0) == Circuit(trips=1)


def test_nobody_probes_while_a_recovery_is_at_work() -> None:
    circuit = repairing(opened(Circuit(), OPTIONS, 0.0, 0.5, "boom"), 30.0)

    assert shown(circuit, OPTIONS, 29.0) == "repairing"
    assert opens_for(circuit, 12.0) == 18.0
    assert admit(circuit, OPTIONS, 12.0, "p", 0.5)[1].allowed is False
    assert shown(circuit, OPTIONS, 30.0) == "open"
    assert admit(circuit, OPTIONS, 30.0, "p", 0.5)[1].permit == "p"


def test_a_mode_goes_before_the_state_and_auto_begins_closed() -> None:
    circuit = opened(Circuit(), OPTIONS, 0.0, 0.5, "boom")

    for mode, passes in (("metrics_only", True), ("disabled", True), ("forced_open", False)):
        told = under(circuit, Ordered(mode))  # type: ignore[arg-type]
        assert shown(told, OPTIONS, 0.0) == mode
        assert admit(told, OPTIONS, 0.0, "p", 0.5)[1].allowed is passes
        assert under(told, NOTHING_ORDERED) == Circuit(trips=1)
    assert under(circuit, NOTHING_ORDERED) == circuit


def test_an_order_with_an_end_ends_by_itself_and_it_begins_closed() -> None:
    circuit = under(opened(Circuit(), OPTIONS, 0.0, 0.5, "boom"), Ordered("forced_open", 7.0, "ann", "a leak"))

    assert shown(at(circuit, OPTIONS, 6.9), OPTIONS, 6.9) == "forced_open"
    assert admit(circuit, OPTIONS, 4.0, "p", 0.5)[1].retry_after == 3.0, "not longer than the order lasts"
    assert at(circuit, OPTIONS, 7.0) == Circuit(trips=1)
    assert admit(circuit, OPTIONS, 7.0, "p", 0.5)[1].allowed


@pytest.mark.parametrize(
    ("ordered", "mode", "makes"),
    [
        (NOTHING_ORDERED, "forced_open", True),
        (Ordered("forced_open", by="me"), "auto", True),
        (Ordered("forced_open", 5.0, by="me"), "forced_open", True),
        (Ordered("forced_open", by="ann"), "auto", False),
        (Ordered("disabled", by="ann"), "forced_open", False),
        (Ordered("forced_open"), "auto", True),
        (Ordered("forced_open"), "forced_open", False),
        (Ordered("disabled"), "auto", False),
    ],
)
def test_who_leaves_the_orders_of_others_alone_changes_only_their_own(ordered: Ordered, mode: Mode, makes: bool) -> None:
    assert makes_room(Circuit(ordered=ordered), mode, "me") is makes


def test_another_clock_moves_every_time_alike() -> None:
    circuit = Circuit(stage_until=1, opened_at=2, retry_at=3, repairing_until=4, permits=(("a", 5),), ordered=Ordered("disabled", 6))

    moved = shifted(circuit, 10)

    assert (moved.stage_until, moved.opened_at, moved.retry_at, moved.repairing_until, moved.permits) == (11, 12, 13, 14, (("a", 15),))
    assert moved.ordered == Ordered("disabled", 16)
    assert shifted(Circuit(), 10) == Circuit()


def test_the_reason_is_kept_short() -> None:
    assert len(opened(Circuit(), OPTIONS, 0.0, 0.5, "x" * 10_000).reason) == 500


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (Counts(calls=4, failures=4, in_a_row=4), ""),
        (Counts(calls=5, failures=5, in_a_row=5), "5 failures in a row"),
        (Counts(calls=19, failures=19), ""),
        (Counts(calls=20, failures=10), "10 of 20 calls failed"),
        (Counts(calls=21, failures=10), ""),
        (Counts(calls=20, slow=16), "16 of 20 calls took 1.5 s or longer"),
        (Counts(calls=20, slow=15), ""),
    ],
)
def test_a_verdict_names_what_was_too_much(counts: Counts, why: str) -> None:
    assert verdict(counts, BreakerOptions(failure_rate=0.5, slow_call_duration=1.5, slow_call_rate=0.8)) == why

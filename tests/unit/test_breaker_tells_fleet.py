"""What a breaker tells the fleet, also one that hears slowly or was away."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.circuit import Result
from recovery.breaker.fleet import Ended
from recovery.breaker.standing import MOST_UNTOLD
from recovery.breaker.window import Window
from tests.breakers import OPTIONS, Clock, RecordingFleet, fail, look, succeed, view

RATES = BreakerOptions(failure_threshold=None, failure_rate=0.5, minimum_requests=4, window_calls=10)


@pytest.fixture
def fleet() -> RecordingFleet:
    return RecordingFleet()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_successes_while_nothing_is_wrong_tell_nobody(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)

    succeed(breaker, 100)

    assert (fleet.told, fleet.asked, breaker.take_summary()) == ([], 0, None)


def test_failures_and_the_success_that_ends_them_are_told_with_the_successes_before(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)

    succeed(breaker, 3)
    fail(breaker, 1)
    succeed(breaker, 3)
    fail(breaker, 1)

    assert fleet.told == [
        Ended("failed", ok_before=3, reason="ValueError: boom"),
        Ended("ok"),
        Ended("failed", ok_before=2, reason="ValueError: boom"),
    ]


def test_a_success_ends_a_run_that_only_others_have_seen(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.apply(view(1, in_a_row=1))

    succeed(breaker, 3)

    assert fleet.told == [Ended("ok")]


def test_shares_need_successes_so_a_summary_tells_them_once(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", RATES, fleet)

    succeed(breaker, 5)
    assert breaker.take_summary() == Ended("ok", 5)
    assert breaker.take_summary() is None
    succeed(breaker, 2)
    fail(breaker, 1)

    assert fleet.told == [Ended("failed", ok_before=2, reason="ValueError: boom")]
    assert breaker.take_summary() is None


def test_a_success_that_a_summary_has_told_is_not_told_again(fleet: RecordingFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = Breaker("gateway", RATES, fleet)
    fail(breaker, 1)
    summaries, due = [], Window.due

    def due_late(window: Window, number: int, now: float) -> bool:
        summaries.append(breaker.take_summary())  # as the background may do between a call's number and the lock
        return due(window, number, now)

    monkeypatch.setattr(Window, "due", due_late)
    succeed(breaker)

    assert summaries == [Ended("ok")]
    assert [ended.result for ended in fleet.told] == ["failed"]


def test_a_slow_success_is_told_at_once(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", BreakerOptions(slow_call_duration=1), fleet, clock)
    succeed(breaker, 2)

    with breaker:
        clock.now += 1

    assert fleet.told == [Ended("ok", ok_before=2, slow=1)]


def test_shares_are_the_fleets_to_judge_until_it_goes_away(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", RATES, fleet)
    fail(breaker, 6)
    assert look(breaker) == "closed", "others may have had a thousand successes"

    fleet.connected = False
    breaker.went_alone()

    assert look(breaker) == "open"
    assert breaker.take_opening() == "6 of 6 calls failed"
    assert breaker.take_opening() == ""


# --- a fleet that hears more slowly than calls fail ---------------------------------------------------------------------


def test_what_waits_to_be_told_is_bounded_and_nothing_of_it_is_lost(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=10_000), fleet)
    fail(breaker, MOST_UNTOLD + 50)
    succeed(breaker)
    fail(breaker, 3)

    assert len(fleet.told) == MOST_UNTOLD
    assert breaker.take_merged() is None, "what came before it is still to be told"
    for ended in fleet.told:
        breaker.answered(ended, view(1))
    merged = breaker.take_merged()

    assert merged == Ended("failed", 3, ok_before=1, failed_before=50, reason="ValueError: boom")
    assert breaker.take_merged() is None
    breaker.answered(merged, view(1))
    fail(breaker, 1)
    assert len(fleet.told) == MOST_UNTOLD + 1, "from now on each is told again"


def test_of_what_was_added_up_and_not_heard_the_last_run_is_handed_over(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=10_000), fleet)
    fail(breaker, MOST_UNTOLD + 50)
    succeed(breaker)
    fail(breaker, 3)
    for ended in fleet.told:
        breaker.answered(ended, None)
    merged = breaker.take_merged()
    assert merged is not None
    breaker.answered(merged, None)

    assert breaker.take_unheard() == Ended("failed", 3, reason="ValueError: boom")


RESULTS: list[Result] = ["ok", "failed"]


TOLD = st.tuples(st.sampled_from(RESULTS), st.integers(1, 3), st.integers(0, 2), st.integers(0, 1)).map(lambda each: Ended(*each))


@given(st.lists(TOLD, min_size=1, max_size=20))
def test_adding_up_keeps_how_many_ended_how_and_the_last_run(told: list[Ended]) -> None:
    calls = "".join("." * each.ok_before + ("x" if each.result == "failed" else ".") * each.calls for each in told)

    added = reduce(Ended.then, told)

    failed = added.failed_before + (added.calls if added.result == "failed" else 0)
    assert (failed, added.ok_before + added.calls + added.failed_before) == (calls.count("x"), len(calls))
    assert added.slow == sum(each.slow for each in told)
    assert (added.calls if added.result == "failed" else 0) == len(calls) - len(calls.rstrip("x"))
    assert added.result == "ok" or bool(added.ok_before) == ("." in calls), "the run before it is broken if a call succeeded"


# --- an absence of the fleet --------------------------------------------------------------------------------------------


def test_what_the_fleet_did_not_hear_is_handed_over_once(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=9), fleet)
    fail(breaker, 3)
    for ended in fleet.told:
        breaker.answered(ended, None)

    assert breaker.take_unheard() == Ended("failed", 3, reason="ValueError: boom")
    assert breaker.take_unheard() is None


def test_failures_that_ended_unheard_are_not_handed_over(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=9), fleet)
    fail(breaker, 3)
    succeed(breaker)
    for ended in fleet.told:
        breaker.answered(ended, None)

    assert breaker.take_unheard() is None


def test_an_opening_that_the_fleet_did_not_hear_opens_it_there_too(fleet: RecordingFleet) -> None:
    fleet.connected = False
    breaker = Breaker("gateway", OPTIONS, fleet)
    fail(breaker, 2)
    for ended in fleet.told:
        breaker.answered(ended, None)

    reason = "2 failures in a row, at last ValueError: boom"
    assert breaker.take_opening() == reason
    assert breaker.take_unheard() == Ended("failed", 2, reason="ValueError: boom", tripped=reason)

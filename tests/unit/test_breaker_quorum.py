"""A breaker under a quorum votes for an opening, refuses only here, and takes its vote back."""

from dataclasses import replace

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.errors import CircuitOpen
from tests.breakers import Clock, RecordingFleet, fail, look, open_for, succeed, view

QUORUM = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, jitter=0, quorum=2)
WHY = "2 failures in a row, at last ValueError: boom"


@pytest.fixture
def fleet() -> RecordingFleet:
    return RecordingFleet()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_opening_under_a_quorum_is_a_vote_and_refuses_only_here(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", QUORUM, fleet, clock)

    fail(breaker, 2)

    assert look(breaker) == "open"
    assert fleet.votes == [WHY]
    assert (fleet.told, breaker.take_opening()) == ([], "")
    breaker.apply(view(1))
    assert look(breaker) == "open", "that the fleet is closed is no news"


def test_a_vote_stands_until_this_process_has_closed_it_for_itself(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", replace(QUORUM, success_threshold=2), fleet, clock)
    assert breaker.standing_vote() is None
    fail(breaker, 2)
    assert breaker.standing_vote() == WHY
    clock.now += 10

    succeed(breaker)
    assert look(breaker) == "half_open"
    assert breaker.standing_vote() == WHY
    assert None not in fleet.votes
    succeed(breaker)

    assert look(breaker) == "closed"
    assert breaker.standing_vote() is None
    assert fleet.votes[-1] is None
    assert fleet.asked == 0, "its own probes need no permit of the fleet"


def test_a_failed_probe_votes_again(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", QUORUM, fleet, clock)
    fail(breaker, 2)
    clock.now += 10

    fail(breaker, 1)

    assert fleet.votes == [WHY, WHY, "ValueError: boom"]
    assert breaker.standing_vote() == "ValueError: boom"


def test_a_process_that_nobody_calls_does_not_vote_for_ever_and_votes_again_with_the_next_call(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", replace(QUORUM, success_threshold=2), fleet, clock)
    fail(breaker, 2)
    clock.now += 10

    assert breaker.standing_vote() is None
    succeed(breaker)

    assert fleet.votes == [WHY, WHY]
    assert breaker.standing_vote() == WHY


def test_the_end_of_its_own_ramp_withdraws_the_vote_without_a_call(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", replace(QUORUM, ramp=(50,), ramp_stage=5.0), fleet, clock)
    fail(breaker, 2)
    clock.now += 10
    succeed(breaker)
    assert breaker.standing_vote() == WHY
    clock.now += 5

    assert breaker.standing_vote() is None

    assert look(breaker) == "closed"
    assert fleet.votes[-1] is None


def test_when_enough_have_voted_the_fleets_cycle_takes_over(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", QUORUM, fleet, clock)
    fail(breaker, 2)

    breaker.apply(view(1, open_for(30.0)))
    with pytest.raises(CircuitOpen) as refused:
        breaker.call(lambda: None)
    assert refused.value.retry_after == 30

    breaker.apply(view(2))
    succeed(breaker)

"""What a breaker tells the fleet, what it takes over from it, and how it goes on without."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.circuit import Admission, Circuit, Result
from recovery.breaker.fleet import Ended, FleetView
from recovery.breaker.standing import MOST_UNTOLD
from recovery.breaker.window import Window
from recovery.errors import CircuitOpen
from tests.breakers import Chance, Clock, RecordingFleet, look

OPTIONS = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, half_open_requests=1, jitter=0)
RATES = BreakerOptions(failure_threshold=None, failure_rate=0.5, minimum_requests=4, window_calls=10)
WHY = "2 failures in a row, at last ValueError: boom"
QUORUM = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, jitter=0, quorum=2)
FLEET_TIME = 77_000.0


def boom() -> None:
    raise ValueError("boom")


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="boom"):
            breaker.call(boom)


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.call(lambda: None)


def view(version: int, circuit: Circuit | None = None, in_a_row: int = 0) -> FleetView:
    return FleetView(circuit or Circuit(), now=FLEET_TIME, version=version, in_a_row=in_a_row)


def open_for(seconds: float) -> Circuit:
    return Circuit(state="open", opened_at=FLEET_TIME, retry_at=FLEET_TIME + seconds, streak=1, trips=1, reason="elsewhere")


HALF_OPEN = Circuit(state="half_open", streak=1, trips=1)


@pytest.fixture
def fleet() -> RecordingFleet:
    return RecordingFleet()


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- telling ------------------------------------------------------------------------------------------------------------


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


# --- taking over --------------------------------------------------------------------------------------------------------


def test_an_opening_elsewhere_refuses_calls_here_for_as_long(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)

    breaker.apply(view(1, open_for(7.0)))

    for _ in range(50):
        with pytest.raises(CircuitOpen, match="is open after: elsewhere") as refused:
            breaker.call(lambda: None)
        assert refused.value.retry_after == 7
    assert fleet.asked == 0


def test_a_repair_elsewhere_shows_and_keeps_callers_from_probing(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    repaired = Circuit(state="open", retry_at=FLEET_TIME, repairing_until=FLEET_TIME + 30, trips=1)

    breaker.apply(view(1, repaired))

    assert look(breaker) == "repairing"
    with pytest.raises(CircuitOpen, match=r"is repairing; try again in 30\.0 s"):
        breaker.call(lambda: None)

    clock.now += 30
    assert look(breaker) == "open"
    succeed(breaker)
    assert fleet.asked == 1


def test_stages_of_a_ramp_are_decided_here(fleet: RecordingFleet, clock: Clock) -> None:
    chance = Chance()
    options = BreakerOptions(failure_threshold=2, ramp=(10, 50), ramp_stage=5)
    breaker = Breaker("gateway", options, fleet, clock, chance)
    breaker.apply(view(1, Circuit(state="half_open", stage=1, stage_until=FLEET_TIME + 5)))

    chance.draw = 0.2
    with pytest.raises(CircuitOpen) as refused:
        breaker.call(lambda: None)
    assert refused.value.retry_after == 5
    clock.now += 5
    succeed(breaker)
    clock.now += 5
    chance.draw = 0.99
    succeed(breaker)

    assert look(breaker) == "closed"
    assert fleet.asked == 0


def test_a_mode_set_elsewhere_holds_here(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)

    breaker.apply(view(1, Circuit(mode="forced_open")))
    with pytest.raises(CircuitOpen):
        breaker.call(lambda: None)
    breaker.apply(view(2, Circuit()))

    succeed(breaker)


def test_an_older_word_of_the_fleet_changes_nothing(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.apply(view(5, open_for(7.0)))

    breaker.apply(view(4))

    assert look(breaker) == "open"


def test_a_closed_fleet_does_not_undo_what_it_has_not_heard_yet(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    fail(breaker, 2)

    breaker.apply(view(1))
    breaker.answered(fleet.told[0], view(2, in_a_row=1))
    assert look(breaker) == "open"

    breaker.answered(fleet.told[1], view(3))
    assert look(breaker) == "closed", "somebody else succeeded in between"
    assert not breaker.take_opening()


def test_an_operators_mode_gets_through_to_a_process_that_is_still_telling(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    fail(breaker, 2)

    breaker.apply(view(1, Circuit(mode="disabled")))

    assert look(breaker) == "disabled"


# --- probing ------------------------------------------------------------------------------------------------------------


def test_a_permit_of_the_fleet_goes_back_with_the_result(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.apply(view(1, HALF_OPEN))
    fleet.answer = Admission(allowed=True, permit="p1")

    succeed(breaker)
    fail(breaker, 1)
    with pytest.raises(KeyboardInterrupt), breaker:
        raise KeyboardInterrupt

    assert fleet.told == [Ended("ok", permit="p1"), Ended("failed", permit="p1", reason="ValueError: boom"), Ended("void", permit="p1")]


def test_a_slow_probe_has_failed(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", BreakerOptions(slow_call_duration=2), fleet, clock)
    breaker.apply(view(1, HALF_OPEN))
    fleet.answer = Admission(allowed=True, permit="p1")

    with breaker:
        clock.now += 3

    assert fleet.told == [Ended("failed", slow=1, permit="p1", reason="a probe took 3 s")]


def test_a_refusal_by_the_fleet_is_remembered_for_a_moment(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(view(1, HALF_OPEN))
    fleet.answer = Admission(allowed=False, retry_after=3.0)

    for _ in range(10):
        with pytest.raises(CircuitOpen) as refused:
            breaker.call(lambda: None)
        assert 0 < refused.value.retry_after <= 1.0, "a probe may end at any moment"
    assert fleet.asked == 1

    clock.now += 0.06
    with pytest.raises(CircuitOpen):
        breaker.call(lambda: None)
    assert fleet.asked == 2
    assert breaker.stats().rejected == 11


def test_without_an_answer_of_the_fleet_it_decides_alone(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    fail(breaker, 2)
    clock.now += 10

    succeed(breaker)

    assert fleet.asked == 1
    assert look(breaker) == "closed"


async def test_a_coroutine_asks_the_fleet_without_blocking_the_loop(fleet: RecordingFleet) -> None:
    asking, go_on = threading.Event(), threading.Event()

    class SlowFleet(RecordingFleet):
        def admit(self, breaker: Breaker, permit: str) -> Admission | None:
            asking.set()
            assert go_on.wait(60)
            return Admission(allowed=True, permit=permit)

    slow = SlowFleet()
    breaker = Breaker("gateway", OPTIONS, slow)
    breaker.apply(view(1, HALF_OPEN))

    async def work() -> str:
        return "done"

    call = asyncio.create_task(breaker.acall(work))
    assert await asyncio.to_thread(asking.wait, 60), "meanwhile the loop goes on"
    go_on.set()

    assert await asyncio.wait_for(call, 60) == "done"
    assert [ended.result for ended in slow.told] == ["ok"]


def test_no_more_calls_ask_at_once_than_could_get_a_permit() -> None:
    asking, go_on = threading.Semaphore(0), threading.Event()

    class SlowFleet(RecordingFleet):
        def admit(self, breaker: Breaker, permit: str) -> Admission | None:
            asking.release()
            assert go_on.wait(60)
            return Admission(allowed=True, permit=permit)

    breaker = Breaker("gateway", BreakerOptions(half_open_requests=2), SlowFleet())
    breaker.apply(view(1, HALF_OPEN))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(breaker.call, lambda: "done") for _ in range(2)]
        assert asking.acquire(timeout=60)
        assert asking.acquire(timeout=60)

        with pytest.raises(CircuitOpen) as refused:
            breaker.call(lambda: "done")
        go_on.set()

        assert [call.result(60) for call in calls] == ["done", "done"]
    assert 0 < refused.value.retry_after <= 0.05


async def test_a_permit_that_comes_after_its_caller_was_cancelled_goes_back() -> None:
    asking, go_on, told = threading.Event(), threading.Event(), asyncio.Event()

    class SlowFleet(RecordingFleet):
        def admit(self, breaker: Breaker, permit: str) -> Admission | None:
            asking.set()
            assert go_on.wait(60)
            return Admission(allowed=True, permit="p1")

        def tell(self, breaker: Breaker, ended: Ended) -> None:
            super().tell(breaker, ended)
            told.set()

    slow = SlowFleet()
    breaker = Breaker("gateway", OPTIONS, slow)
    breaker.apply(view(1, HALF_OPEN))
    call = asyncio.create_task(breaker.acall(asyncio.sleep, 0))
    assert await asyncio.to_thread(asking.wait, 60)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()

    await asyncio.wait_for(told.wait(), 60)
    assert slow.told == [Ended("void", permit="p1")]


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


# --- a quorum -----------------------------------------------------------------------------------------------------------


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


# --- orders -------------------------------------------------------------------------------------------------------------


def test_orders_go_to_the_fleet_and_hold_here_alone_while_it_is_away(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.disable()
    assert (fleet.orders, breaker.state) == (["disabled"], "closed"), "the fleet will say what became of it"

    fleet.connected = False
    breaker.disable()
    assert look(breaker) == "disabled"

    breaker.apply(view(1))
    assert look(breaker) == "closed", "the fleet is back, its word holds"

"""What a breaker takes over from the fleet, asks it for, and decides without it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from recovery.breaker import Breaker, BreakerOptions, turnstile
from recovery.breaker.changes import Change
from recovery.breaker.circuit import Admission, Circuit, Ordered
from recovery.breaker.fleet import Ended
from recovery.errors import CircuitOpen
from tests.breakers import FLEET_TIME, HALF_OPEN, OPTIONS, Chance, Clock, RecordingFleet, fail, look, open_for, succeed, view


@pytest.fixture
def fleet() -> RecordingFleet:
    return RecordingFleet()


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- taking over --------------------------------------------------------------------------------------------------------


def test_an_opening_elsewhere_refuses_calls_here_for_as_long(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)

    breaker.apply(view(1, open_for(7.0)))

    for _ in range(50):
        with pytest.raises(CircuitOpen, match="is open because: elsewhere") as refused:
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


def test_a_stage_that_only_the_ramp_of_another_process_has_lets_all_calls_through(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=2), fleet, clock, Chance())

    breaker.apply(view(1, Circuit(state="half_open", stage=2, stage_until=FLEET_TIME + 5)))

    succeed(breaker, 3)
    assert look(breaker) == "half_open"


def test_a_mode_set_elsewhere_holds_here(fleet: RecordingFleet) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet)

    breaker.apply(view(1, Circuit(ordered=Ordered("forced_open"))))
    with pytest.raises(CircuitOpen):
        breaker.call(lambda: None)
    breaker.apply(view(2, Circuit()))

    succeed(breaker)


def test_a_mode_set_elsewhere_ends_here_by_itself_and_says_why(fleet: RecordingFleet, clock: Clock) -> None:
    told: list[tuple[str, str]] = []
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.on_change(lambda change: told.append((change.before, change.after)))
    breaker.apply(view(1, Circuit(ordered=Ordered("forced_open", FLEET_TIME + 4, "ann", "a leak"))))

    with pytest.raises(CircuitOpen, match="a leak") as refused:
        breaker.call(lambda: None)
    assert refused.value.retry_after == 4
    clock.now += 4

    assert look(breaker) == "closed"
    succeed(breaker)
    assert told == [("closed", "forced_open"), ("forced_open", "closed")]
    assert fleet.asked == 0, "nobody needs to be reached for it"


def test_who_is_refused_by_an_order_with_a_far_end_need_not_wait_for_it(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(view(1, Circuit(ordered=Ordered("forced_open", FLEET_TIME + 600))))

    with pytest.raises(CircuitOpen) as refused:
        breaker.call(lambda: None)

    assert refused.value.retry_after == OPTIONS.reset_timeout, "it may be taken back earlier"


def test_an_order_that_is_over_when_the_news_of_it_comes_changes_nothing(fleet: RecordingFleet, clock: Clock) -> None:
    told: list[Change] = []
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.on_change(told.append)

    breaker.apply(view(1, Circuit(ordered=Ordered("forced_open", FLEET_TIME))))

    succeed(breaker)
    assert told == []


def hear_again(breaker: Breaker, fleet: RecordingFleet) -> None:
    breaker.apply(view(2, Circuit(ordered=Ordered("metrics_only", FLEET_TIME + 600))))
    fleet.connected = False


def be_told_again(breaker: Breaker, fleet: RecordingFleet) -> None:
    fleet.connected = False
    breaker.metrics_only()


def go_alone(breaker: Breaker, fleet: RecordingFleet) -> None:
    fleet.connected = False
    breaker.went_alone()


@pytest.mark.parametrize("then", [hear_again, be_told_again, go_alone])
def test_what_was_counted_under_an_order_that_is_over_does_not_count_under_the_next(
    fleet: RecordingFleet, clock: Clock, then: Callable[[Breaker, RecordingFleet], None]
) -> None:
    told: list[Change] = []
    shares = BreakerOptions(failure_threshold=None, failure_rate=0.5, minimum_requests=2, window_calls=2)
    breaker = Breaker("gateway", shares, fleet, clock)
    breaker.on_change(told.append)
    breaker.apply(view(1, Circuit(ordered=Ordered("metrics_only", FLEET_TIME + 4))))
    fail(breaker, 2)
    clock.now += 4

    then(breaker, fleet)
    breaker.went_alone()

    assert [change.reason for change in told if change.before == change.after] == [], "it says nothing of having opened"


def test_a_failure_that_outlives_the_order_it_was_let_in_under_counts_no_more(fleet: RecordingFleet, clock: Clock) -> None:
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(view(1, Circuit(ordered=Ordered("metrics_only", FLEET_TIME + 4))))
    fail(breaker, 1)

    def fail_late() -> None:
        clock.now += 5
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        breaker.call(fail_late)
    assert len(fleet.told) == 1
    fail(breaker, 1)
    assert look(breaker) == "closed"
    fail(breaker, 1)
    assert look(breaker) == "open"


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

    breaker.apply(view(1, Circuit(ordered=Ordered("disabled"))))

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


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let callers wait for the fleet as long as the test takes."""
    monkeypatch.setattr(turnstile, "ASK_WITHIN", 60.0)


@pytest.mark.usefixtures("patience")
async def test_a_coroutine_asks_the_fleet_without_blocking_the_loop() -> None:
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


@pytest.mark.usefixtures("patience")
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


@pytest.mark.usefixtures("patience")
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


class HangingFleet(RecordingFleet):
    """Does not answer until it may, as if a name server did not."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.heard = threading.Event(), threading.Event()

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        assert self.go_on.wait(60)
        return Admission(allowed=True, permit="p1")

    def tell(self, breaker: Breaker, ended: Ended) -> None:
        super().tell(breaker, ended)
        self.heard.set()


def test_a_fleet_that_does_not_answer_in_time_is_not_waited_for_and_gets_its_permit_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "ASK_WITHIN", 0.01)
    hanging = HangingFleet()
    breaker = Breaker("gateway", OPTIONS, hanging)
    breaker.apply(view(1, HALF_OPEN))

    succeed(breaker)

    assert hanging.told == [], "it was the process's own probe"
    hanging.go_on.set()
    assert hanging.heard.wait(60)
    assert hanging.told == [Ended("void", permit="p1")]


async def test_a_coroutine_does_not_wait_for_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "ASK_WITHIN", 0.01)
    hanging = HangingFleet()
    breaker = Breaker("gateway", OPTIONS, hanging)
    breaker.apply(view(1, HALF_OPEN))

    await breaker.acall(asyncio.sleep, 0)

    hanging.go_on.set()
    assert await asyncio.to_thread(hanging.heard.wait, 60)
    assert hanging.told == [Ended("void", permit="p1")]


@pytest.mark.usefixtures("patience")
async def test_a_probe_waits_for_none_of_the_applications_own_threads(fleet: RecordingFleet) -> None:
    fleet.answer = Admission(allowed=True, permit="p1")
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.apply(view(1, HALF_OPEN))
    done, pool = threading.Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    work = pool.submit(done.wait, 60)
    try:
        await breaker.acall(asyncio.sleep, 0)
        assert not work.done()
    finally:
        done.set()

    assert [ended.permit for ended in fleet.told] == ["p1"]


def test_where_no_thread_can_be_had_it_decides_alone(fleet: RecordingFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_ask: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(turnstile, "aside", no_thread)
    breaker = Breaker("gateway", OPTIONS, fleet)
    breaker.apply(view(1, HALF_OPEN))

    succeed(breaker)

    assert look(breaker) == "closed"
    assert fleet.asked == 0


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

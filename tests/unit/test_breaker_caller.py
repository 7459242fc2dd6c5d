"""One process's breaker: what it lets through, what it counts, and what it takes over from the fleet."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.circuit import Admission, Result
from recovery.breaker.shared import Snapshot
from recovery.errors import CircuitOpen

OPTIONS = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, half_open_requests=1, ignore=(KeyError,))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class RecordingFleet:
    """Hears everything; answers what it was told to."""

    def __init__(self) -> None:
        self.told: list[tuple[Result, str]] = []
        self.answer: Admission | None = None
        self.asked = 0

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        self.asked += 1
        return self.answer

    def tell(self, breaker: Breaker, result: Result, permit: str, reason: str) -> None:
        self.told.append((result, permit))


def boom() -> None:
    raise ValueError("boom")


async def boom_later() -> None:
    await asyncio.sleep(0)
    boom()


def by_call(breaker: Breaker, function: Callable[[], object]) -> None:
    breaker.call(function)


def by_with(breaker: Breaker, function: Callable[[], object]) -> None:
    with breaker:
        function()


def by_decorator(breaker: Breaker, function: Callable[[], object]) -> None:
    breaker(function)()


def by_acall(breaker: Breaker, function: Callable[[], object]) -> None:
    async def coroutine() -> object:
        return function()

    asyncio.run(breaker.acall(coroutine))


def by_async_with(breaker: Breaker, function: Callable[[], object]) -> None:
    async def run() -> None:
        async with breaker:
            function()

    asyncio.run(run())


def by_async_decorator(breaker: Breaker, function: Callable[[], object]) -> None:
    @breaker
    async def coroutine() -> object:
        return function()

    asyncio.run(coroutine())


Way = Callable[[Breaker, Callable[[], object]], None]
every_way = pytest.mark.parametrize("way", [by_call, by_with, by_decorator, by_acall, by_async_with, by_async_decorator])


def trip(breaker: Breaker, way: Way = by_call) -> None:
    for _ in range(breaker.options.failure_threshold):
        with pytest.raises(ValueError, match="boom"):
            way(breaker, boom)


@every_way
def test_failures_in_a_row_open_it_and_calls_are_refused(way: Way) -> None:
    breaker = Breaker("gateway", OPTIONS)
    trip(breaker, way)
    made = []

    with pytest.raises(CircuitOpen) as refused:
        way(breaker, lambda: made.append(1))

    assert made == []
    assert 9 < refused.value.retry_after <= 10
    assert "Circuit 'gateway' is open after: ValueError: boom" in str(refused.value)


@every_way
def test_a_probe_after_the_reset_timeout_closes_it(way: Way) -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)
    trip(breaker, way)
    clock.now += 10

    way(breaker, lambda: None)

    assert breaker.state == "closed"


@every_way
def test_an_ignored_exception_counts_neither_way(way: Way) -> None:
    breaker = Breaker("gateway", OPTIONS)
    with pytest.raises(ValueError, match="boom"):
        way(breaker, boom)

    with pytest.raises(KeyError):
        way(breaker, lambda: os.environ["NO_SUCH_VARIABLE_ANYWHERE"])
    assert breaker.circuit.failures == 1

    with pytest.raises(ValueError, match="boom"):
        way(breaker, boom)
    assert breaker.state == "open"


@every_way
def test_a_cancelled_probe_gives_its_permit_back(way: Way) -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)
    trip(breaker)
    clock.now += 10

    def cancelled() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        way(breaker, cancelled)
    way(breaker, lambda: None)

    assert breaker.state == "closed"


def test_results_arguments_and_names_pass_through() -> None:
    breaker = Breaker("gateway", OPTIONS)

    @breaker
    def add(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert breaker.call(max, 3, 4) == 4


def test_nested_blocks_of_two_breakers_keep_their_permits_apart() -> None:
    clock = Clock()
    outer, inner = Breaker("outer", OPTIONS, clock=clock), Breaker("inner", OPTIONS, clock=clock)
    trip(outer)
    trip(inner)
    clock.now += 10

    with outer:
        with pytest.raises(ValueError, match="boom"), inner:
            boom()
        assert outer.state == "half_open"

    assert (outer.state, inner.state) == ("closed", "open")


def test_only_as_many_probes_as_allowed_run_at_once() -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)
    trip(breaker)
    clock.now += 10
    inside, go_on = threading.Event(), threading.Event()

    def probe() -> None:
        inside.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(breaker.call, probe)
        assert inside.wait(60)
        with pytest.raises(CircuitOpen):
            breaker.call(lambda: None)
        go_on.set()
        first.result(60)

    assert breaker.state == "closed"


def test_no_lock_is_held_during_a_call() -> None:
    breaker = Breaker("gateway", OPTIONS)
    meeting = threading.Barrier(8)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(breaker.call, meeting.wait, 60) for _ in range(8)]

        assert sorted(call.result(60) for call in calls) == list(range(8)), "eight calls are inside at the same time"


def test_no_failure_is_lost_between_threads() -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=10_000))

    def fail_often() -> None:
        for _ in range(500):
            with pytest.raises(ValueError, match="boom"):
                breaker.call(boom)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fail_often) for _ in range(8)]:
            done.result(100)

    assert breaker.circuit.failures == 4_000


# --- with a fleet -------------------------------------------------------------------------------------------------------


def fleet_says(state: str, version: int, failures: int = 0, retry_in: float = 0.0) -> Snapshot:
    return Snapshot("gateway", state, failures, 0, None, retry_in, 1, "elsewhere", version, now=0.0)  # type: ignore[arg-type]


def test_successes_while_nothing_is_wrong_tell_nobody() -> None:
    fleet = RecordingFleet()
    breaker = Breaker("gateway", OPTIONS, fleet)

    for _ in range(100):
        breaker.call(lambda: None)

    assert (fleet.told, fleet.asked) == ([], 0)


def test_failures_and_the_success_that_ends_them_are_told() -> None:
    fleet = RecordingFleet()
    breaker = Breaker("gateway", OPTIONS, fleet)

    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)
    breaker.call(lambda: None)
    breaker.call(lambda: None)

    assert fleet.told == [("failed", ""), ("ok", "")]


def test_an_opening_elsewhere_refuses_calls_here() -> None:
    breaker = Breaker("gateway", OPTIONS, RecordingFleet())

    breaker.apply(fleet_says("open", version=1, retry_in=7.0))

    with pytest.raises(CircuitOpen) as refused:
        breaker.call(lambda: None)
    assert 6 < refused.value.retry_after <= 7


def test_the_fleet_is_not_asked_while_the_answer_is_known() -> None:
    fleet, clock = RecordingFleet(), Clock()
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(fleet_says("open", version=1, retry_in=7.0))

    for _ in range(50):
        with pytest.raises(CircuitOpen):
            breaker.call(lambda: None)

    assert fleet.asked == 0


def test_a_permit_of_the_fleet_goes_back_with_the_result() -> None:
    fleet, clock = RecordingFleet(), Clock()
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(fleet_says("half_open", version=1))
    fleet.answer = Admission(allowed=True, permit="p1")

    breaker.call(lambda: None)

    assert fleet.told == [("ok", "p1")]


def test_a_refusal_by_the_fleet_is_remembered_for_a_moment() -> None:
    fleet, clock = RecordingFleet(), Clock()
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    breaker.apply(fleet_says("half_open", version=1))
    fleet.answer = Admission(allowed=False, retry_after=3.0)

    for _ in range(10):
        with pytest.raises(CircuitOpen) as refused:
            breaker.call(lambda: None)
        assert refused.value.retry_after <= 1.0, "a probe may end at any moment"
    assert fleet.asked == 1

    clock.now += 0.06
    with pytest.raises(CircuitOpen):
        breaker.call(lambda: None)
    assert fleet.asked == 2


def test_without_an_answer_of_the_fleet_it_decides_alone() -> None:
    fleet, clock = RecordingFleet(), Clock()
    breaker = Breaker("gateway", OPTIONS, fleet, clock)
    trip(breaker)
    clock.now += 10

    breaker.call(lambda: None)

    assert fleet.asked == 1
    assert breaker.state == "closed"


def test_an_older_word_of_the_fleet_changes_nothing() -> None:
    breaker = Breaker("gateway", OPTIONS, RecordingFleet())
    breaker.apply(fleet_says("open", version=5, retry_in=7.0))

    breaker.apply(fleet_says("closed", version=4))

    assert breaker.state == "open"


def test_a_closed_fleet_does_not_undo_what_it_has_not_heard_yet() -> None:
    breaker = Breaker("gateway", OPTIONS, RecordingFleet())
    trip(breaker)

    breaker.apply(fleet_says("closed", version=1))
    breaker.answered("failed", fleet_says("closed", version=2, failures=1))

    assert breaker.state == "open"


def test_a_fleet_that_heard_everything_knows_better() -> None:
    breaker = Breaker("gateway", OPTIONS, RecordingFleet())
    trip(breaker)

    breaker.answered("failed", fleet_says("closed", version=1, failures=1))
    breaker.answered("failed", fleet_says("closed", version=2, failures=0))

    assert breaker.state == "closed", "somebody else succeeded in between"
    assert not breaker.take_opening()


def test_what_the_fleet_did_not_hear_is_handed_over_once() -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=9), RecordingFleet())
    for _ in range(3):
        with pytest.raises(ValueError, match="boom"):
            breaker.call(boom)
        breaker.answered("failed", None)

    assert breaker.take_unheard() == 3
    assert breaker.take_unheard() == 0


def test_an_opening_that_the_fleet_did_not_hear_opens_it_there_too() -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=4), RecordingFleet())
    breaker.apply(fleet_says("closed", version=1, failures=3))
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)
    breaker.answered("failed", None)

    assert breaker.state == "open"
    assert breaker.take_unheard() == 4
    assert breaker.take_opening()
    assert not breaker.take_opening()

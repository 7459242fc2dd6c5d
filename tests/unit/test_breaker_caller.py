"""One process's breaker: what it lets through, what it counts, and what every way of using it has in common."""

import asyncio
import contextlib
import functools
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.caller import BreakerStats, _held
from recovery.breaker.changes import Change
from recovery.errors import CircuitOpen
from tests.breakers import Chance, Clock, look

OPTIONS = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, half_open_requests=1, jitter=0, ignore=(KeyError,))


def boom() -> None:
    raise ValueError("boom")


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
    for _ in range(breaker.options.failure_threshold or 0):
        with pytest.raises(ValueError, match="boom"):
            way(breaker, boom)


def is_refused(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except CircuitOpen:
        return True
    return False


@every_way
def test_failures_in_a_row_open_it_and_calls_are_refused(way: Way) -> None:
    breaker = Breaker("gateway", OPTIONS, clock=Clock())
    trip(breaker, way)
    made = []

    with pytest.raises(CircuitOpen) as refused:
        way(breaker, lambda: made.append(1))

    assert made == []
    assert refused.value.retry_after == 10
    assert str(refused.value) == ("Circuit 'gateway' is open after: 2 failures in a row, at last ValueError: boom; try again in 10.0 s.")


@every_way
def test_a_probe_after_the_reset_timeout_closes_it(way: Way) -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)
    trip(breaker, way)
    clock.now += 10

    way(breaker, lambda: None)

    assert look(breaker) == "closed"
    assert breaker.stats() == BreakerStats(calls=3, failures=2, slow=0, rejected=0, trips=1)


@every_way
def test_an_ignored_exception_counts_neither_way(way: Way) -> None:
    breaker = Breaker("gateway", OPTIONS)
    with pytest.raises(ValueError, match="boom"):
        way(breaker, boom)

    with pytest.raises(KeyError):
        way(breaker, lambda: os.environ["NO_SUCH_VARIABLE_ANYWHERE"])
    assert breaker.stats().calls == 1

    with pytest.raises(ValueError, match="boom"):
        way(breaker, boom)
    assert look(breaker) == "open"


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

    assert look(breaker) == "closed"


@every_way
def test_slow_calls_open_it(way: Way) -> None:
    clock = Clock()
    options = BreakerOptions(slow_call_duration=2, slow_call_rate=0.5, minimum_requests=4, window_calls=4)
    breaker = Breaker("gateway", options, clock=clock)

    def take(seconds: float) -> None:
        clock.now += seconds

    for seconds in (1.9, 2.0, 0.1, 5.0):
        way(breaker, lambda seconds=seconds: take(seconds))  # type: ignore[misc]

    assert look(breaker) == "open"
    assert breaker.stats().slow == 2
    assert breaker.circuit.reason == "2 of 4 calls took 2 s or longer"


@pytest.mark.parametrize("way", [by_call, by_decorator, by_acall, by_async_decorator])
def test_a_returned_value_may_be_a_failure(way: Way) -> None:
    breaker = Breaker("gateway", BreakerOptions(failure_threshold=2, record_result=lambda status: status == 503))

    way(breaker, lambda: 503)
    way(breaker, lambda: 200)
    way(breaker, lambda: 503)
    way(breaker, lambda: 503)

    assert breaker.circuit.reason == "2 failures in a row, at last returned 503"


def test_exceptions_are_picked_by_class_or_by_a_function() -> None:
    def server_error(error: Exception) -> bool:
        return "50" in str(error)

    breaker = Breaker("gateway", BreakerOptions(failure_threshold=1, record=server_error, ignore=lambda error: "429" in str(error)))

    for status in ("429", "404"):
        with pytest.raises(OSError, match=status), breaker:
            raise OSError(status)
    assert look(breaker) == "closed"
    assert breaker.stats().calls == 1, "404 is an answer, 429 says nothing"

    with pytest.raises(OSError, match="503"), breaker:
        raise OSError("503")
    assert look(breaker) == "open"


def test_a_predicate_that_fails_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> bool:
        raise ZeroDivisionError

    breaker = Breaker("gateway", BreakerOptions(failure_threshold=1, record=broken, record_result=broken))

    assert breaker.call(lambda: "fine") == "fine"
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)

    assert look(breaker) == "open", "in doubt an exception is a failure and a result is none"
    assert len(caplog.records) == 2


def test_results_arguments_and_names_pass_through() -> None:
    breaker = Breaker("gateway", OPTIONS)

    class Till:
        @breaker
        def add(self, a: int, *, b: int) -> int:
            """Add."""
            return a + b

    assert Till().add(1, b=2) == 3
    assert (Till.add.__name__, Till.add.__doc__) == ("add", "Add.")
    assert breaker.call(max, 3, 4) == 4


def test_a_generator_is_refused_where_it_is_decorated() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"cannot guard the generator .*numbers: use 'with breaker:' inside it"):
        Breaker("gateway", OPTIONS)(numbers)


def test_a_coroutine_function_is_refused_by_the_call_that_does_not_await_it() -> None:
    breaker = Breaker("gateway", OPTIONS)

    async def work() -> None:
        raise AssertionError

    for function in (work, functools.partial(work)):
        with pytest.raises(TypeError, match=r"'gateway' cannot call the coroutine function .*work: use 'await breaker.acall"):
            _ = breaker.call(function)

    assert breaker.stats().calls == 0, "neither a success nor a failure"


def test_a_coroutine_function_that_is_refused_gives_its_permit_back() -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)
    trip(breaker)
    clock.now += 10

    async def work() -> None:
        raise AssertionError

    with pytest.raises(TypeError):
        _ = breaker.call(work)
    breaker.call(lambda: None)

    assert look(breaker) == "closed"


async def test_an_object_with_an_async_call_stays_one() -> None:
    class Ask:
        __name__ = __qualname__ = "ask"

        async def __call__(self) -> str:
            raise ValueError("boom")

    breaker = Breaker("gateway", OPTIONS)
    ask = breaker(Ask())

    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            await ask()
    with pytest.raises(CircuitOpen):
        await ask()


def test_a_fallback_answers_while_it_refuses_and_only_then() -> None:
    breaker = Breaker("gateway", OPTIONS)

    @breaker.guard(fallback=lambda cents: f"later: {cents}")
    def charge(cents: int) -> str:
        if cents < 0:
            raise ValueError("boom")
        return f"charged {cents}"

    assert charge(1) == "charged 1"
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            charge(-1)
    assert charge(1) == "later: 1"
    assert breaker.stats().rejected == 1


async def test_a_fallback_of_a_coroutine_may_be_either_kind() -> None:
    breaker = Breaker("gateway", OPTIONS)
    trip(breaker)

    async def later(cents: int) -> str:
        return f"later: {cents}"

    async def charge(cents: int) -> str:
        return f"charged {cents}"

    assert await breaker.guard(fallback=later)(charge)(1) == "later: 1"
    assert await breaker.guard(fallback=lambda cents: f"soon: {cents}")(charge)(2) == "soon: 2"


def test_a_refusal_inside_the_call_is_no_case_for_the_fallback() -> None:
    outer, inner = Breaker("outer", OPTIONS), Breaker("inner", OPTIONS)
    trip(inner)

    @outer.guard(fallback=lambda: "instead")
    def ask() -> str:
        return inner.call(lambda: "asked")

    with pytest.raises(CircuitOpen, match="'inner'"):
        ask()


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

    with breaker:
        assert is_refused(breaker)

    assert look(breaker) == "closed"


def test_a_call_from_before_the_opening_tells_nothing_new() -> None:
    clock = Clock()
    breaker = Breaker("gateway", OPTIONS, clock=clock)

    with pytest.raises(ValueError, match="boom"), breaker:  # noqa: PT012 - it fails long after others have opened and closed it
        trip(breaker)
        clock.now += 10
        breaker.call(lambda: None)
        boom()

    assert look(breaker) == "closed"
    assert breaker.stats().failures == 3
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)
    assert look(breaker) == "closed", "it is the first of a new run"


def test_blocks_of_generators_may_be_left_in_any_order() -> None:
    inner, outer = Breaker("inner", OPTIONS), Breaker("outer", OPTIONS)

    def numbers() -> Iterator[int]:
        with inner:
            yield 1

    before = _held.get()
    for _ in range(10):
        generator = numbers()
        next(generator)
        with outer:
            assert next(generator, None) is None

    assert (inner.stats().calls, outer.stats().calls) == (10, 10)
    assert _held.get() is before


def test_a_signal_handler_may_call_through_the_breaker_that_it_interrupts() -> None:
    handled: list[str] = []

    def interrupted() -> float:
        if not handled:
            handled.append("the lock is held here")
            with contextlib.suppress(ValueError):
                breaker.call(boom)
        return 0.5

    breaker = Breaker("gateway", OPTIONS, draw=interrupted)

    trip(breaker)

    assert handled
    assert is_refused(breaker)


def test_a_block_that_is_left_where_it_was_not_entered_takes_no_others_ticket() -> None:
    entered, other = Breaker("entered", OPTIONS), Breaker("other", OPTIONS)

    with entered:
        other.__exit__(None, None, None)

    assert (entered.stats().calls, other.stats().calls) == (1, 0)


def test_a_verdict_after_the_ramp_is_over_begins_with_the_first_open_time_again() -> None:
    clock, chance = Clock(), Chance()
    options = BreakerOptions(failure_threshold=1, success_threshold=1, reset_timeout=10, jitter=0, ramp=(50,), ramp_stage=5)
    breaker = Breaker("gateway", options, clock=clock, draw=chance)
    trip(breaker)
    clock.now += 10
    breaker.call(lambda: None)
    chance.draw = 0.4

    def fail_late() -> None:
        clock.now += 6  # the ramp ends while the call runs
        boom()

    with pytest.raises(ValueError, match="boom"):
        breaker.call(fail_late)

    assert breaker.circuit.retry_at == clock.now + 10


def test_no_lock_is_held_during_a_call() -> None:
    breaker = Breaker("gateway", OPTIONS)
    meeting = threading.Barrier(8)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(breaker.call, meeting.wait, 60) for _ in range(8)]

        assert sorted(call.result(60) for call in calls) == list(range(8)), "eight calls are inside at the same time"


@pytest.mark.parametrize("window", [{"window_calls": 100_000}, {"window_seconds": 3_600}])
def test_threads_lose_no_call_and_no_failure(window: dict[str, int]) -> None:
    options = BreakerOptions(failure_threshold=None, failure_rate=1.0, minimum_requests=100_000, **window)  # type: ignore[arg-type]
    breaker = Breaker("gateway", options)

    @breaker
    def work(number: int) -> None:
        if number % 10 == 0:
            raise ValueError("boom")

    def work_often() -> None:
        for number in range(5_000):
            with contextlib.suppress(ValueError):
                work(number)

    threads = [threading.Thread(target=work_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)

    assert breaker.stats() == BreakerStats(calls=40_000, failures=4_000, slow=0, rejected=0, trips=0)


def test_a_failure_rate_opens_it_under_many_threads_exactly_once() -> None:
    changes: list[Change] = []
    options = BreakerOptions(failure_threshold=None, failure_rate=0.5, window_calls=1_000, minimum_requests=1_000)
    breaker = Breaker("gateway", options)
    breaker.on_change(changes.append)

    def fail_often() -> None:
        for _ in range(500):
            with contextlib.suppress(ValueError, CircuitOpen):
                breaker.call(boom)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fail_often) for _ in range(8)]:
            done.result(100)

    stats = breaker.stats()
    assert [(change.before, change.after) for change in changes] == [("closed", "open")]
    assert changes[0].reason == "1000 of 1000 calls failed, at last ValueError: boom"
    assert stats.calls + stats.rejected == 4_000
    assert stats.calls >= 1_000


# --- what people tell it ------------------------------------------------------------------------------------------------


def test_forced_open_refuses_until_auto() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.force_open()
    assert look(breaker) == "forced_open"

    with pytest.raises(CircuitOpen, match=r"is forced-open; try again in 10\.0 s") as refused:
        breaker.call(lambda: None)
    assert (refused.value.state, refused.value.retry_after) == ("forced_open", 10)

    breaker.auto()
    assert not is_refused(breaker)


def test_disabled_lets_all_through_uncounted() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.disable()

    trip(breaker)
    trip(breaker)

    assert look(breaker) == "disabled"
    assert breaker.stats() == BreakerStats(calls=0, failures=0, slow=0, rejected=0, trips=0)


def test_metrics_only_counts_and_says_once_that_it_would_have_opened(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[Change] = []
    breaker = Breaker("gateway", OPTIONS)
    listen_no_more = breaker.on_change(changes.append)
    breaker.metrics_only()

    trip(breaker)
    trip(breaker)

    assert not is_refused(breaker)
    assert breaker.stats().failures == 4
    assert [(change.before, change.after, change.reason) for change in changes] == [
        ("closed", "metrics_only", ""),
        ("metrics_only", "metrics_only", "would have opened: 2 failures in a row, at last ValueError: boom"),
    ]
    assert caplog.text.count("breaker 'gateway' would have opened") == 1

    listen_no_more()
    breaker.auto()
    assert len(changes) == 2


def test_what_was_counted_in_one_mode_does_not_count_in_the_next() -> None:
    breaker = Breaker("gateway", OPTIONS)
    breaker.metrics_only()
    trip(breaker)

    breaker.auto()
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)

    assert look(breaker) == "closed"


def test_reset_closes_it_and_forgets() -> None:
    breaker = Breaker("gateway", OPTIONS)
    trip(breaker)
    breaker.reset()
    assert look(breaker) == "closed"

    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)
    breaker.reset()
    with pytest.raises(ValueError, match="boom"):
        breaker.call(boom)

    assert look(breaker) == "closed", "two failures with a reset in between are no run of two"


def test_an_option_begins_in_a_mode() -> None:
    breaker = Breaker("gateway", BreakerOptions(mode="metrics_only", failure_threshold=1))

    trip(breaker)

    assert look(breaker) == "metrics_only"
    assert not is_refused(breaker)


def test_a_listener_that_fails_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Change) -> None:
        raise ZeroDivisionError

    breaker = Breaker("gateway", OPTIONS)

    breaker.on_change(broken)

    trip(breaker)

    assert "a listener of breaker 'gateway' failed" in caplog.text


def test_a_listener_may_use_the_breaker() -> None:
    seen = []
    breaker = Breaker("gateway", OPTIONS)
    breaker.on_change(lambda change: seen.append((change.after, breaker.state, breaker.stats().failures)))

    trip(breaker)

    assert seen == [("open", "open", 2)]


def test_listeners_hear_of_changes_in_order_also_when_threads_make_them_at_once() -> None:
    told, begun, go_on = list[str](), threading.Event(), threading.Event()
    breaker = Breaker("gateway", OPTIONS)

    def slow(change: Change) -> None:
        begun.set()
        assert go_on.wait(60)
        told.append(change.after)

    breaker.on_change(slow)
    first = threading.Thread(target=breaker.force_open)
    first.start()
    assert begun.wait(60)

    breaker.disable()  # does not wait for the listener, and does not overtake what it is told

    assert told == []
    go_on.set()
    first.join(60)
    assert told == ["forced_open", "disabled"]


def test_a_change_that_a_listener_makes_is_told_after_the_one_it_hears_of() -> None:
    told = list[str]()
    breaker = Breaker("gateway", OPTIONS)
    breaker.on_change(lambda change: breaker.disable() if change.after == "forced_open" else None)
    breaker.on_change(lambda change: told.append(change.after))

    breaker.force_open()

    assert told == ["forced_open", "disabled"]


# --- forks and refusals -------------------------------------------------------------------------------------------------


def test_a_forked_child_has_counted_nothing_and_knows_what_was_open() -> None:
    breaker = Breaker("gateway", OPTIONS)
    trip(breaker)
    assert is_refused(breaker)
    other = threading.Thread(target=breaker._lock.acquire)  # a thread that holds the lock at the moment of the fork
    other.start()
    other.join()

    breaker.renew()

    assert breaker.stats() == BreakerStats(calls=0, failures=0, slow=0, rejected=0, trips=1)
    assert is_refused(breaker)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_count_leaves_the_child_a_breaker_that_works() -> None:
    breaker = Breaker("gateway", OPTIONS)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with breaker._lock:
            held.set()
            go_on.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)

    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that waits for a lock which nobody holds would wait for ever
        try:
            trip(breaker)
            os._exit(0 if is_refused(breaker) and breaker.stats().failures == 2 else 1)
        finally:
            os._exit(2)
    go_on.set()
    other.join()

    assert os.waitpid(child, 0)[1] == 0


def test_a_refusal_can_be_pickled_and_says_the_same() -> None:
    refused = CircuitOpen("gateway", "half_open", 0.5, "all calls failed")

    again = pickle.loads(pickle.dumps(refused))

    assert str(again) == str(refused) == "Circuit 'gateway' is half-open after: all calls failed; try again in 0.5 s."
    assert (again.breaker, again.state, again.retry_after, again.code) == ("gateway", "half_open", 0.5, "CIRCUIT_OPEN")
    assert again.payload == refused.payload
    assert str(CircuitOpen("gateway")) == "Circuit 'gateway' is open; try again in 0.0 s."

"""One process's breaker: what it lets through, what it counts, and what every way of calling through it has in common."""

import asyncio
import functools
import os
import pickle
from collections.abc import Callable, Iterator

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.caller import BreakerStats
from recovery.errors import CircuitOpen
from tests.breakers import OPTIONS, Chance, Clock, Way, boom, by_call, is_refused, look, trip


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


every_way = pytest.mark.parametrize("way", [by_call, by_with, by_decorator, by_acall, by_async_with, by_async_decorator])


@every_way
def test_failures_in_a_row_open_it_and_calls_are_refused(way: Way) -> None:
    breaker = Breaker("gateway", OPTIONS, clock=Clock())
    trip(breaker, way)
    made = []

    with pytest.raises(CircuitOpen) as refused:
        way(breaker, lambda: made.append(1))

    assert made == []
    assert refused.value.retry_after == 10
    assert str(refused.value) == ("Circuit 'gateway' is open because: 2 failures in a row, at last ValueError: boom; try again in 10.0 s.")


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


def test_a_refusal_can_be_pickled_and_says_the_same() -> None:
    refused = CircuitOpen("gateway", "half_open", 0.5, "all calls failed")

    again = pickle.loads(pickle.dumps(refused))

    assert str(again) == str(refused) == "Circuit 'gateway' is half-open because: all calls failed; try again in 0.5 s."
    assert (again.breaker, again.state, again.retry_after, again.code) == ("gateway", "half_open", 0.5, "CIRCUIT_OPEN")
    assert again.payload == refused.payload
    assert str(CircuitOpen("gateway")) == "Circuit 'gateway' is open; try again in 0.0 s."

"""A breaker amid nested blocks, threads, signals and forks: no permit, no call and no lock goes astray."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.caller import BreakerStats, _held
from recovery.breaker.changes import Change
from recovery.errors import CircuitOpen
from tests.breakers import OPTIONS, Clock, boom, is_refused, trip


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


def test_a_block_that_is_left_where_it_was_not_entered_takes_no_others_ticket() -> None:
    entered, other = Breaker("entered", OPTIONS), Breaker("other", OPTIONS)

    with entered:
        other.__exit__(None, None, None)

    assert (entered.stats().calls, other.stats().calls) == (1, 0)


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

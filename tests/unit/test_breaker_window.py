"""A window keeps numbers of failed and slow calls only, and counts as if it kept every call."""

import tracemalloc
from dataclasses import dataclass
from itertools import count
from math import floor, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recovery.breaker import BreakerOptions
from recovery.breaker.judgement import Counts, verdict
from recovery.breaker.window import Window

BY_CALLS = BreakerOptions(failure_threshold=None, failure_rate=0.4, slow_call_duration=1, window_calls=7, minimum_requests=3)
BY_TIME = BreakerOptions(failure_threshold=None, failure_rate=0.4, slow_call_duration=1, window_seconds=10, minimum_requests=3)


@dataclass(frozen=True)
class Call:
    failed: bool
    slow: bool
    after: float
    """Seconds since the call before."""


CALLS = st.lists(
    st.builds(
        Call,
        failed=st.sampled_from([False, False, True]),
        slow=st.sampled_from([False, False, False, True]),
        after=st.sampled_from([0.0, 0.0, 0.25, 1.0, 4.0, 30.0]),
    ),
    max_size=60,
)


def all_counted(calls: list[tuple[float, Call]], options: BreakerOptions) -> Counts:
    now = calls[-1][0]
    held = calls[-options.calls_in_window :] if options.calls_in_window else [each for each in calls if floor(each[0]) > floor(now) - 10]
    run = next((back for back, (_, call) in enumerate(reversed(calls)) if not call.failed), len(calls))
    return Counts(len(held), sum(call.failed for _, call in held), sum(call.slow for _, call in held), run)


@pytest.mark.parametrize("options", [BY_CALLS, BY_TIME], ids=["of calls", "of seconds"])
@given(calls=CALLS, begin=st.sampled_from([0, 1_000]))
@settings(deadline=None)
def test_it_holds_what_a_list_of_all_calls_holds(options: BreakerOptions, calls: list[Call], begin: int) -> None:
    now, numbers, told = 500.0, count(begin + 1), list[tuple[float, Call]]()
    window = Window(options, begin, now)
    for call in calls:
        now += call.after
        number = next(numbers)
        told.append((now, call))
        expected = all_counted(told, options)
        plain = not call.failed and not call.slow

        if plain and now < window.until:  # such a success is only numbered: it must not matter
            assert not verdict(expected, options) or verdict(all_counted(told[:-1], options), options)
        elif not plain or window.due(number, now):
            assert window.add(number, now, failed=call.failed, slow=call.slow) == expected
        else:
            assert not verdict(expected, options)


def test_a_success_after_failures_is_due_once() -> None:
    window = Window(BreakerOptions(failure_threshold=3), 0, 0.0)
    window.add(1, 0.0, failed=True)
    assert window.until == -inf

    window.add(2, 0.0)

    assert window.until == inf


def test_a_run_that_the_fleet_knows_of_makes_the_next_success_due_once() -> None:
    window = Window(BreakerOptions(failure_threshold=3), 0, 0.0)
    window.hear(0)
    assert window.until == inf

    window.hear(2)
    assert window.due(1, 0.0)
    window.add(1, 0.0)

    assert not window.in_run


def test_failures_that_are_too_few_calls_to_judge_are_judged_when_there_are_enough() -> None:
    window = Window(BY_CALLS, 0, 0.0)
    window.add(1, 0.0, failed=True)
    window.add(2, 0.0)
    assert window.until == -inf, "one more makes it three"

    assert window.due(3, 0.0)
    assert window.add(3, 0.0) == Counts(calls=3, failures=1)
    assert window.until == inf


def test_a_window_of_seconds_counts_failures_and_keeps_none_of_them() -> None:
    window = Window(BreakerOptions(failure_rate=0.5, slow_call_duration=1, window_seconds=3_600, mode="metrics_only"), 0, 0.0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1, 50_001):
            counts = window.add(number, number / 100, failed=True, slow=True)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert counts == Counts(calls=50_000, failures=50_000, slow=50_000, in_a_row=50_000)
    assert grown < 10_000, "bytes"


def test_failures_are_not_kept_when_no_share_of_them_is_taken() -> None:
    window = Window(BreakerOptions(failure_threshold=10_000, slow_call_duration=1, window_calls=100_000, mode="metrics_only"), 0, 0.0)

    for number in range(1, 101):
        window.add(number, 0.0, failed=True, slow=number == 7)

    assert window.counts(100) == Counts(calls=100, slow=1, in_a_row=100)
    assert not window._failed


def test_a_clock_that_is_set_back_only_delays_the_next_step() -> None:
    window = Window(BY_TIME, 0, 100.0)
    window.add(1, 100.0, failed=True)

    assert window.add(2, 40.0, failed=True) == Counts(calls=2, failures=2, in_a_row=2)
    assert window.add(3, 111.0) == Counts(calls=1)

"""Waits between tries: formulas that hold for every number of failures, every draw and every clock."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from recovery.backoff import (
    Adaptive,
    BreakerAware,
    Exponential,
    First,
    Jitter,
    Jittered,
    Lasting,
    Linear,
    Longest,
    Policy,
    Seen,
    TimeWindow,
)

seconds = some.floats(0.001, 1e6)
moments = some.floats(-1e9, 1e9)
seen = some.builds(
    Seen,
    failed=some.integers(1, 100_000),
    now=moments,
    begun_at=some.lists(moments, max_size=20).map(lambda times: tuple(sorted(times))),
    error_rate=some.floats(0, 1),
    retry_at=some.none() | moments,
    draw=some.floats(0, 1, exclude_max=True),
)
exponentials = some.builds(Exponential, seconds, some.floats(1, 100), seconds)
linears = some.builds(Linear, seconds, some.floats(0, 1e3), seconds)
adaptives = some.builds(Adaptive, seconds, some.floats(1, 100), seconds)
growing = exponentials | linears | adaptives
simple = growing | some.just(BreakerAware()) | some.builds(TimeWindow, some.integers(1, 10), seconds) | some.builds(Lasting, seconds)
jittered = some.builds(Jittered, simple, some.sampled_from(Jitter), seconds)
several = some.lists(simple | jittered, min_size=1, max_size=5).map(tuple)
policies = simple | jittered | some.builds(Longest, several) | some.builds(First, several)


def test_waits_are_what_the_formulas_say() -> None:
    after = [Seen(failed=failed) for failed in range(1, 6)]

    assert [Exponential(0.5, 2, 5).wait(each) for each in after] == [0.5, 1, 2, 4, 5]
    assert [Linear(1, 2, 6).wait(each) for each in after] == [1, 3, 5, 6, 6]
    assert Adaptive(1, 2, 100).wait(Seen(error_rate=0)) == 1
    assert Adaptive(1, 2, 100).wait(Seen(error_rate=0.5)) == pytest.approx(10)
    assert Adaptive(1, 2, 100).wait(Seen(error_rate=1)) == 100
    assert BreakerAware().wait(Seen(now=10, retry_at=13)) == 3
    assert TimeWindow(2, 60).wait(Seen(now=100, begun_at=(10, 50, 90))) == 10
    assert Lasting(5).wait(Seen(now=14.9, begun_at=(10,))) == 0
    assert Lasting(5).wait(Seen(now=15, begun_at=(10, 14))) is None
    assert Jittered(Exponential(8), Jitter.EQUAL).wait(Seen(draw=0.25)) == 5
    assert Jittered(Exponential(8), Jitter.FULL).wait(Seen(draw=0.25)) == 2


@given(policies, seen)
def test_a_wait_is_never_negative_and_always_finite_or_the_end(policy: Policy, state: Seen) -> None:
    wait = policy.wait(state)

    assert wait is None or (wait >= 0 and math.isfinite(wait))


@given(exponentials | linears | adaptives, seen)
def test_a_growing_wait_never_passes_its_maximum_and_never_shrinks(policy: Exponential | Linear | Adaptive, state: Seen) -> None:
    wait, later = policy.wait(state), policy.wait(replace(state, failed=state.failed + 1))

    assert wait <= policy.max
    assert later >= wait * (1 - 1e-9)


@given(adaptives, seen, some.floats(0, 1))
def test_more_errors_never_shorten_an_adaptive_wait(policy: Adaptive, state: Seen, rate: float) -> None:
    low, high = sorted((rate, state.error_rate))
    first, second = (policy.wait(replace(state, error_rate=each)) for each in (low, high))

    assert second >= first * (1 - 1e-9)
    assert first >= Exponential(policy.initial, policy.multiplier, policy.max).wait(state) * (1 - 1e-9)


@given(simple, some.sampled_from(Jitter), seconds, seen)
def test_jitter_never_passes_the_ceiling_nor_the_wait_that_it_was_given(
    policy: Policy, jitter: Jitter, ceiling: float, state: Seen
) -> None:
    whole, wait = policy.wait(state), Jittered(policy, jitter, ceiling).wait(state)

    if whole is None or wait is None:
        assert whole is wait is None
    else:
        assert wait <= min(whole, ceiling)
        assert jitter is not Jitter.EQUAL or wait >= min(whole, ceiling) / 2


@given(several, seen)
def test_several_together_wait_for_the_longest_or_the_first_and_stop_with_any(together: tuple[Policy, ...], state: Seen) -> None:
    waits = [policy.wait(state) for policy in together]
    known = [wait for wait in waits if wait is not None]

    if None in waits:
        assert Longest(together).wait(state) is First(together).wait(state) is None
    else:
        assert Longest(together).wait(state) == max(known)
        assert First(together).wait(state) == min(known)


@given(growing, seen)
def test_a_jittered_wait_beside_a_breaker_never_ends_before_the_breaker_lets_a_call_through(policy: Policy, state: Seen) -> None:
    wait = Longest((Jittered(policy), BreakerAware())).wait(state)

    assert wait is not None
    assert state.retry_at is None or wait >= state.retry_at - state.now


@given(some.integers(1, 8), some.floats(0.1, 1e4), some.lists(some.floats(0, 1e3), max_size=40))
def test_whoever_waits_as_told_never_tries_more_often_than_the_window_allows(tries: int, window: float, idle: list[float]) -> None:
    policy, now, begun = TimeWindow(tries, window), 0.0, list[float]()
    for pause in idle:
        now += pause
        now += policy.wait(Seen(now=now, begun_at=tuple(begun)))
        begun.append(now)

    for first, late in zip(begun, begun[tries:], strict=False):
        assert late - first >= window * (1 - 1e-9)

"""Wraps functions and coroutine functions so that a breaker lets their calls in and counts how they end.

The two wrappers and `Breaker.call` and `acall` say the same four times on purpose: a shared function would cost each call of a
closed breaker as much again as all of it does. What is not the plain success of a closed breaker goes to `Turnstile`.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from recovery.breaker.picks import is_failure
from recovery.breaker.turnstile import Ticket, Turnstile
from recovery.errors import CircuitOpen

P = ParamSpec("P")
T = TypeVar("T")


def returned(turnstile: Turnstile, ticket: Ticket, began: float, value: object) -> None:
    """Count a call that returned."""
    judge = turnstile.options.record_result
    if judge is not None and is_failure(judge, value):
        turnstile.ended(ticket, began, "failed", f"returned {value!r:.200}")
    else:
        turnstile.ended(ticket, began, "ok")


def guard_function(turnstile: Turnstile, function: Callable[P, T], fallback: Callable[P, T] | None) -> Callable[P, T]:
    """Return `function` guarded; `fallback` gets the same arguments while the breaker refuses."""
    enter, clock = turnstile.enter, turnstile.clock
    timed, slow_from, judges = turnstile.timed, turnstile.slow_from, turnstile.options.record_result is not None

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            ticket = turnstile.passing or enter()
        except CircuitOpen:
            if fallback is None:
                raise
            return fallback(*args, **kwargs)
        began = clock() if timed else 0.0
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        now = clock() if timed else 0.0
        if ticket.alert or judges or now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return guarded


def guard_coroutine(
    turnstile: Turnstile, function: Callable[P, Awaitable[T]], fallback: Callable[P, Awaitable[T] | T] | None
) -> Callable[P, Awaitable[T]]:
    """Return the coroutine function guarded, as one; `fallback` may be either kind."""
    clock, timed, slow_from = turnstile.clock, turnstile.timed, turnstile.slow_from
    judges = turnstile.options.record_result is not None

    @functools.wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            ticket = turnstile.passing or await turnstile.enter_async()
        except CircuitOpen:
            if fallback is None:
                raise
            instead = fallback(*args, **kwargs)
            return await instead if isinstance(instead, Awaitable) else instead
        began = clock() if timed else 0.0
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        now = clock() if timed else 0.0
        if ticket.alert or judges or now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return guarded

"""Makes the functions through which calls go: a breaker lets them in, times them and counts how they end.

The four of them say the same on purpose: sharing it would cost each call of a closed breaker another call. They are closures because
those read what never changes quicker than methods do, and keywords are only handed on if there are any, because handing on none
costs a twentieth of it all. All but the plain success of a closed breaker goes to `Turnstile`.
"""

import functools
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast

from recovery.breaker.picks import is_failure
from recovery.breaker.turnstile import Ticket, Turnstile
from recovery.errors import CircuitOpen

P = ParamSpec("P")
T = TypeVar("T")


class Calls(Protocol):
    """Calls a function through a breaker."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function`; raises `CircuitOpen` instead if the circuit is open, and whatever the function raises.

        Raises:
            TypeError: for a coroutine function; await `acall` with it.
        """
        ...


class AsyncCalls(Protocol):
    """Awaits a coroutine function through a breaker."""

    async def __call__(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function`; raises `CircuitOpen` instead if the circuit is open, and whatever the function raises."""
        ...


def returned(turnstile: Turnstile, ticket: Ticket, began: float, value: object) -> None:
    """Count a call that returned."""
    judge = turnstile.options.record_result
    if judge is not None and is_failure(judge, value):
        turnstile.ended(ticket, began, "failed", f"returned {value!r:.200}")
    else:
        turnstile.ended(ticket, began, "ok")


def unstarted(turnstile: Turnstile, ticket: Ticket, began: float, value: "CoroutineType[Any, Any, Any]") -> NoReturn:
    """Refuse a coroutine that was called but never awaited here: it has done nothing yet, and its failures would go unseen."""
    value.close()
    turnstile.ended(ticket, began, "void")
    raise TypeError(f"Breaker '{turnstile.name}' cannot call the coroutine function {value.__qualname__}: use 'await breaker.acall(...)'.")


def calls_through(turnstile: Turnstile) -> Calls:
    """Return the function that calls others through this breaker."""
    enter, clock, slow_from = turnstile.enter, turnstile.clock, turnstile.slow_from
    measures, timed = turnstile.measures, turnstile.timed

    def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        ticket = turnstile.passing or enter()
        began = clock() if measures else 0.0
        try:
            value = function(*args, **kwargs) if kwargs else function(*args)  # type: ignore[call-arg]
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        if type(value) is CoroutineType:
            unstarted(turnstile, ticket, began, cast("CoroutineType[Any, Any, Any]", value))
        now = clock() if timed else 0.0
        if now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return call


def async_calls_through(turnstile: Turnstile) -> AsyncCalls:
    """Return the coroutine function that awaits others through this breaker."""
    clock, slow_from = turnstile.clock, turnstile.slow_from
    measures, timed = turnstile.measures, turnstile.timed

    async def acall(function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        ticket = turnstile.passing or await turnstile.enter_async()
        began = clock() if measures else 0.0
        try:
            value = await (function(*args, **kwargs) if kwargs else function(*args))  # type: ignore[call-arg]
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        now = clock() if timed else 0.0
        if now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return acall


def guard_function(turnstile: Turnstile, function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` guarded."""
    enter, clock, slow_from = turnstile.enter, turnstile.clock, turnstile.slow_from
    measures, timed = turnstile.measures, turnstile.timed

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        ticket = turnstile.passing or enter()
        began = clock() if measures else 0.0
        try:
            value = function(*args, **kwargs) if kwargs else function(*args)  # type: ignore[call-arg]
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        now = clock() if timed else 0.0
        if now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return guarded


def guard_coroutine(turnstile: Turnstile, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Return the coroutine function guarded, as one."""
    clock, slow_from = turnstile.clock, turnstile.slow_from
    measures, timed = turnstile.measures, turnstile.timed

    @functools.wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        ticket = turnstile.passing or await turnstile.enter_async()
        began = clock() if measures else 0.0
        try:
            value = await (function(*args, **kwargs) if kwargs else function(*args))  # type: ignore[call-arg]
        except BaseException as error:
            turnstile.raised(ticket, began, error)
            raise
        now = clock() if timed else 0.0
        if now >= ticket.until or now - began >= slow_from:
            returned(turnstile, ticket, began, value)
        else:
            next(turnstile.numbers)
        return value

    return guarded


def fall_back(name: str, guarded: Callable[P, T], fallback: Callable[P, T]) -> Callable[P, T]:
    """Return the guarded function with another that gets the same arguments when the breaker of that name refuses."""

    @functools.wraps(guarded)
    def falling_back(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return guarded(*args, **kwargs)
        except CircuitOpen as refused:
            if refused.breaker != name:  # another breaker's, from inside the call
                raise
        return fallback(*args, **kwargs)

    return falling_back


def fall_back_async(name: str, guarded: Callable[P, Awaitable[T]], fallback: Callable[P, Awaitable[T] | T]) -> Callable[P, Awaitable[T]]:
    """Do what `fall_back` does for a coroutine function; the fallback may be either kind."""

    @functools.wraps(guarded)
    async def falling_back(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await guarded(*args, **kwargs)
        except CircuitOpen as refused:
            if refused.breaker != name:
                raise
        instead = fallback(*args, **kwargs)
        return await instead if isinstance(instead, Awaitable) else instead

    return falling_back

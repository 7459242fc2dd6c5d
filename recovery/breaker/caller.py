"""The circuit breaker as its callers use it: decorator, context manager, `call`, what it shows and what people can tell it."""

import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from random import random
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from recovery.breaker.changes import Listener
from recovery.breaker.fleet import Fleet
from recovery.breaker.guarded import (
    AsyncCalls,
    Calls,
    async_calls_through,
    calls_through,
    fall_back,
    fall_back_async,
    guard_coroutine,
    guard_function,
)
from recovery.breaker.instep import InStep
from recovery.breaker.options import BreakerOptions
from recovery.breaker.turnstile import Ticket
from recovery.forking import renew_after_fork

P = ParamSpec("P")
T = TypeVar("T")

_Held = tuple["Breaker", Ticket, float, "_Held"] | None
_held: ContextVar[_Held] = ContextVar("recovery_breaker_tickets", default=None)
"""Tickets of the `with` blocks that this thread or task is in, innermost first."""


def _taken_out(held: _Held, breaker: "Breaker") -> tuple[_Held, _Held]:
    """Return the breaker's innermost ticket and the others without it: generators may leave their blocks in any order."""
    passed = []
    while held is not None and held[0] is not breaker:
        passed.append(held)
        held = held[3]
    if held is None:
        return None, None
    rest = held[3]
    for inner in reversed(passed):
        rest = (*inner[:3], rest)
    return held, rest


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """What one process's calls through a breaker came to, since it started or was forked."""

    calls: int
    """Calls that ended and counted, refused ones not among them."""
    failures: int
    slow: int
    """Calls that took `slow_call_duration` or longer, failed or not."""
    rejected: int
    """Calls that were refused."""
    trips: int
    """How often the breaker opened, ever; over the whole fleet, as far as it is known here."""


class Breaker(InStep):
    """A circuit breaker for calls to one thing; use it as a decorator, as a context manager (sync or async), or by `call`.

    `RecoveryClient.breaker` makes one that the fleet shares; one that is made by hand works for its process alone.

    Args:
        name: The breaker's name; processes that use the same one share it.
        options: When it opens, probes and closes.
        fleet: The connection to the other processes; None: this process alone.
        clock: Seconds that only ever rise.
        draw: Chance, from 0 up to but not including 1.
    """

    call: Calls
    """Calls a function: `breaker.call(function, *args)`."""
    acall: AsyncCalls
    """Awaits a coroutine function: `await breaker.acall(function, *args)`."""

    def __init__(
        self,
        name: str,
        options: BreakerOptions,
        fleet: Fleet | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random,
    ) -> None:
        super().__init__(name, options, fleet, clock, draw)
        self.call = calls_through(self)
        self.acall = async_calls_through(self)
        if fleet is None:
            renew_after_fork(self)  # else the fleet's connection does it, with the rest of the client

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` guarded by this breaker; a coroutine function stays one.

        Raises:
            TypeError: for a generator function, whose calls do nothing yet; write `with breaker:` around what can fail in it.
        """
        return self.guard()(function)

    def guard(self, *, fallback: Callable[..., object] | None = None) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return the decorator with a `fallback`: called with the same arguments while the breaker refuses.

        The fallback is not guarded, and not used for what the function raises.
        """

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise TypeError(f"Breaker '{self.name}' cannot guard the generator {function.__qualname__}: use 'with breaker:' inside it.")
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
                coroutine = guard_coroutine(self, cast("Callable[P, Awaitable[object]]", function))
                return cast("Callable[P, T]", fall_back_async(self.name, coroutine, fallback) if fallback else coroutine)
            guarded = guard_function(self, function)
            return fall_back(self.name, guarded, cast("Callable[P, T]", fallback)) if fallback else guarded

        return decorate

    def __enter__(self) -> Self:
        self._hold(self.passing or self.enter())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        held, rest = _taken_out(_held.get(), self)
        if held is None:
            return  # left in another context than entered, as some frameworks do; a permit expires then
        _, ticket, began, _ = held
        _held.set(rest)
        if error is None:
            self.ended(ticket, began, "ok")
        else:
            self.raised(ticket, began, error)

    async def __aenter__(self) -> Self:
        self._hold(self.passing or await self.enter_async())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)

    def _hold(self, ticket: Ticket) -> None:
        _held.set((self, ticket, self.clock() if self.measures else 0.0, _held.get()))

    def stats(self) -> BreakerStats:
        """Return what this process's calls came to."""
        with self._lock:
            return BreakerStats(
                calls=self.count_calls() + self._beside,
                failures=self._failures,
                slow=self._slow,
                rejected=self.count_rejections(),
                trips=self.circuit.trips,
            )

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` every change from now on, one at a time and in order; returns what ends that.

        It is called after the fact, with no lock of the breaker's held: on the thread of the call that made the change, in the
        background for a change that came from elsewhere, or on the thread that is still telling an earlier one. It holds up no other
        call than that thread's. What it raises is logged.
        """
        return self._notices.listen(listener)

    # --- what people can tell it; for the whole fleet if it can be asked, else in this process until the fleet is back ---

    def reset(self) -> None:
        """Close it now and forget what was counted."""
        self.order("reset")

    def force_open(self) -> None:
        """Refuse every call until `auto`."""
        self.order("forced_open")

    def disable(self) -> None:
        """Let every call through uncounted until `auto`."""
        self.order("disabled")

    def metrics_only(self) -> None:
        """Let every call through until `auto`, count all, and say once when it would have opened."""
        self.order("metrics_only")

    def auto(self) -> None:
        """Let the calls decide again; it begins closed."""
        self.order("auto")

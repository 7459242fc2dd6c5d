"""The caller's side of a circuit breaker: runs calls, counts how they end, refuses them while the circuit is open.

While closed a call touches neither lock nor network: it reads a local view, which the fleet's changes are pushed into.
No lock is held while the call runs.
"""

import functools
import inspect
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from threading import Lock
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar, cast

from recovery.breaker.circuit import Admission, Circuit, Result, State, admit, record
from recovery.breaker.options import BreakerOptions
from recovery.breaker.shared import Snapshot
from recovery.errors import CircuitOpen

P = ParamSpec("P")
T = TypeVar("T")

_Held = tuple[str, "_Held"] | None
_held: ContextVar[_Held] = ContextVar("recovery_breaker_permits", default=None)
"""Permits of the `with` blocks that this thread or task is in, innermost first."""

ASK_AGAIN = 0.05
"""Seconds a refused caller's process waits before it asks the fleet for a permit again."""
PROBE_ENDS_WITHIN = 1.0
"""Upper bound of `retry_after` while half-open: a permit is free as soon as any probe ends, long before it expires."""


class Fleet(Protocol):
    """What connects one process's breaker to the others."""

    def admit(self, breaker: "Breaker", permit: str) -> Admission | None:
        """Ask for a permit; None: the fleet cannot be asked, decide alone. Waits at most half a second."""
        ...

    def tell(self, breaker: "Breaker", result: Result, permit: str, reason: str) -> None:
        """Report how a call ended; never waits."""
        ...


class Breaker:
    """A circuit breaker for calls to one thing; use it as a decorator, as a context manager (sync or async), or by `call`.

    Args:
        name: The breaker's name; processes that use the same one share it.
        options: When it opens, probes and closes.
        fleet: The connection to the other processes; None: this process alone.
        clock: Seconds that only ever rise.
    """

    def __init__(self, name: str, options: BreakerOptions, fleet: Fleet | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.options = options
        self._fleet = fleet
        self._clock = clock
        self._circuit = Circuit()
        self._version = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: the parent's threads hold no lock here and wait for no answer."""
        self._lock = Lock()
        self._unanswered = 0
        self._ask_at = 0.0
        self._unheard = 0
        self._opened_here = False

    @property
    def state(self) -> State:
        """Return `closed`, `open` or `half_open`, as this process sees it."""
        return self._circuit.state

    @property
    def circuit(self) -> Circuit:
        """Return the whole local view; its times are of this process's monotonic clock."""
        return self._circuit

    # --- calls ---

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function`; raises `CircuitOpen` instead if the circuit is open, and whatever the function raises."""
        permit = "" if self._circuit.state == "closed" else self._enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._leave(permit, error)
            raise
        if permit or self._circuit.failures:
            self._leave(permit, None)
        return result

    async def acall(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function`; like `call`."""
        permit = "" if self._circuit.state == "closed" else await self._enter_async()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._leave(permit, error)
            raise
        if permit or self._circuit.failures:
            self._leave(permit, None)
        return result

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` guarded by this breaker; a coroutine function stays one."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
                return await self.acall(function, *args, **kwargs)

            return cast("Callable[P, T]", guarded_coroutine)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(function, *args, **kwargs)

        return guarded

    def __enter__(self) -> Self:
        _held.set((self._enter(), _held.get()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        held = _held.get()
        permit = ""
        if held is not None:  # None: left in another context than entered, as some frameworks do; the permit expires then
            permit, outer = held
            _held.set(outer)
        self._leave(permit, error)

    async def __aenter__(self) -> Self:
        _held.set((await self._enter_async(), _held.get()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)

    # --- deciding and counting ---

    def _enter(self) -> str:
        """Return the permit of one call, empty while closed; raises `CircuitOpen`."""
        return "" if self._circuit.state == "closed" else self._decide()

    async def _enter_async(self) -> str:
        if self._circuit.state == "closed":
            return ""
        import asyncio  # here it is loaded already; a service without it does not pay for it

        self._refuse_early()
        return self._decide() if self._fleet is None else await asyncio.to_thread(self._decide)

    def _decide(self) -> str:
        self._refuse_early()
        permit = uuid.uuid4().hex
        admission = self._fleet.admit(self, permit) if self._fleet else None
        if admission is None:
            with self._lock:
                self._circuit, admission = admit(self._circuit, self.options, self._clock(), permit)
        if not admission.allowed:
            self._ask_at = self._clock() + min(admission.retry_after, ASK_AGAIN)
            probing = self._circuit.state == "half_open"
            raise self._refusal(min(admission.retry_after, PROBE_ENDS_WITHIN) if probing else admission.retry_after)
        return admission.permit

    def _refuse_early(self) -> None:
        """Raise `CircuitOpen` if the answer is known without asking the fleet."""
        remaining = self._refused_for()
        if remaining:
            raise self._refusal(remaining)

    def _refused_for(self) -> float:
        circuit, now = self._circuit, self._clock()
        if circuit.state == "open":
            return max(0.0, (circuit.retry_at or now) - now)
        return max(0.0, self._ask_at - now) if circuit.state == "half_open" else 0.0

    def _refusal(self, retry_after: float) -> CircuitOpen:
        because = f" after: {self._circuit.reason}" if self._circuit.reason else ""
        return CircuitOpen(
            f"Circuit '{self.name}' is {self._circuit.state.replace('_', '-')}{because}; try again in {retry_after:.1f} s.",
            retry_after=retry_after,
            breaker=self.name,
        )

    def _leave(self, permit: str, error: BaseException | None) -> None:
        result: Result = "ok"
        if error is not None:
            result = "failed" if isinstance(error, Exception) and not isinstance(error, self.options.ignore) else "void"
        if not permit and (result == "void" or (result == "ok" and not self._circuit.failures)):
            return
        reason = f"{type(error).__name__}: {error}"[:500] if result == "failed" else ""
        with self._lock:
            before = self._circuit
            self._circuit = record(before, self.options, self._clock(), result, permit=permit, reason=reason)
            self._opened_here |= before.state != "open" and self._circuit.state == "open"
            self._unanswered += self._fleet is not None
        if self._fleet is not None:
            self._fleet.tell(self, result, permit, reason)

    # --- what the fleet says ---

    def answered(self, result: Result, snapshot: Snapshot | None) -> None:
        """Take the answer to one `Fleet.tell`; None: the fleet did not hear it, the local view stands."""
        with self._lock:
            self._unanswered = max(0, self._unanswered - 1)
            if result == "ok":
                self._unheard = 0
            elif result == "failed" and snapshot is None:
                self._unheard += 1
        if snapshot is not None:
            self.apply(snapshot)

    def apply(self, snapshot: Snapshot) -> None:
        """Take over the fleet's state, unless it is older than what is known here.

        A closed state does not undo what this process has counted but the fleet has not heard yet.
        """
        with self._lock:
            if snapshot.version < self._version or (snapshot.state == "closed" and self._unanswered):
                return
            self._version = snapshot.version
            self._opened_here &= snapshot.state != "closed"
            self._circuit = Circuit(
                state=snapshot.state,
                failures=snapshot.failures,
                successes=snapshot.successes,
                opened_at=self._circuit.opened_at if snapshot.state == self._circuit.state else self._clock(),
                retry_at=self._clock() + snapshot.retry_in,
                permits=self._circuit.permits if snapshot.state == "half_open" else (),
                trips=snapshot.trips,
                reason=snapshot.reason or (self._circuit.reason if snapshot.state != "closed" else ""),
            )

    def take_opening(self) -> bool:
        """Say once whether this process's own count opened the circuit."""
        with self._lock:
            opened, self._opened_here = self._opened_here, False
        return opened

    def take_unheard(self) -> int:
        """Return once how many failures the fleet must still count; enough to open it there if they opened the circuit here."""
        with self._lock:
            unheard, self._unheard = self._unheard, 0
            return max(unheard, self.options.failure_threshold) if unheard and self._circuit.state == "open" else unheard

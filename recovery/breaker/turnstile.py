"""Lets calls in, counts how they end and opens the circuit: one process's side of a breaker, the same for threads and asyncio.

While closed, `passing` is the window that counts; whoever finds it there needs neither lock nor network. No lock is held while a
call runs: its ticket, which it was let in with, says where its end counts.
"""

import os
from math import inf
from typing import TYPE_CHECKING, NoReturn

from recovery.breaker.aside import aside
from recovery.breaker.circuit import Admission, Result, admit, at, mode_of, probed
from recovery.breaker.fleet import Ended, Fleet
from recovery.breaker.picks import classify, describe
from recovery.breaker.standing import Standing
from recovery.breaker.window import Window
from recovery.errors import CircuitOpen

if TYPE_CHECKING:
    from concurrent.futures import Future

ASK_AGAIN = 0.05
"""Seconds a refused caller's process waits before it asks the fleet for a permit again."""
ASK_WITHIN = 0.5
"""Seconds that a caller waits for the fleet's answer; the connection's own timeouts are shorter, but bound no name server."""
MOST_ASKING = 10
"""Calls of one process that ask the fleet at once; further ones are refused, because hundreds of connections would do Redis no good."""
PROBE_ENDS_WITHIN = 1.0
"""Upper bound of `retry_after` among probes: a permit is free as soon as any probe ends, long before it expires."""


class Permit:
    """The ticket of a call that no window counts: a probe, or, with an empty name, a call while the breaker is disabled."""

    __slots__ = ("asked", "name")
    until = -inf

    def __init__(self, name: str, *, asked: bool) -> None:
        self.name = name
        self.asked = asked
        """Granted by the fleet, so that the fleet wants to know how it ended."""


Ticket = Window | Permit


class Turnstile(Standing):
    """The ways in and out of a breaker in one process."""

    # --- in ---

    def enter(self) -> Ticket:
        """Return the ticket of one call, or raise `CircuitOpen`; may ask the fleet for a permit."""
        now = self.clock()
        if now < self._refuse_until:
            next(self._rejections)
            remaining = self._refuse_until - now
            retry_after = min(self.options.reset_timeout, remaining) if self._shown == "forced_open" else remaining
            raise CircuitOpen(self.name, self._shown, retry_after, self._why)
        permit = os.urandom(16).hex()
        asking = self._ask(permit, now)
        if asking is None:
            return self._decide(permit)
        try:
            admission = asking.result(ASK_WITHIN)
        except TimeoutError:
            asking.add_done_callback(self._give_back)
            return self._decide(permit)
        except BaseException:  # whatever a signal handler raises
            asking.add_done_callback(self._give_back)
            raise
        return self._take(permit, admission)

    async def enter_async(self) -> Ticket:
        """Do what `enter` does without blocking the loop."""
        now = self.clock()
        if self._fleet is None or now < self._refuse_until or not self._must_ask(now):
            return self.enter()
        import asyncio  # here it is loaded already; a service without it does not pay for it

        permit = os.urandom(16).hex()
        asking = self._ask(permit, now)
        if asking is None:
            return self._decide(permit)
        try:
            admission = await asyncio.wait_for(asyncio.wrap_future(asking), ASK_WITHIN)
        except TimeoutError:
            asking.add_done_callback(self._give_back)
            return self._decide(permit)
        except BaseException:
            asking.add_done_callback(self._give_back)
            raise
        return self._take(permit, admission)

    def _ask(self, permit: str, now: float) -> "Future[Admission | None] | None":
        """Begin to ask the fleet for a permit; None: this process decides.

        As many calls ask at once as could get one, because each takes a connection; further ones are refused.
        """
        fleet = self._fleet
        if fleet is None or not self._must_ask(now) or not fleet.hears(self._breaker):
            return None
        with self._lock:
            may_ask = self._asking < min(self.options.half_open_requests, MOST_ASKING) and self.clock() >= self._refuse_until
            self._asking += may_ask
        if not may_ask:
            self._take(permit, Admission(allowed=False, retry_after=ASK_AGAIN))
        try:
            return aside(lambda: self._asked(fleet, permit))
        except RuntimeError:
            self._has_asked()
            return None

    def _asked(self, fleet: Fleet, permit: str) -> Admission | None:
        try:
            return fleet.admit(self._breaker, permit)
        finally:
            self._has_asked()

    def _has_asked(self) -> None:
        with self._lock:
            self._asking -= 1

    def _give_back(self, asked: "Future[Admission | None]") -> None:
        """Return a permit that came when its caller had gone; the fleet has few."""
        admission = None if asked.exception() else asked.result()
        if admission is not None and admission.permit:
            with self._lock:
                self._tell(Ended("void", permit=admission.permit))

    def _must_ask(self, now: float) -> bool:
        """Say whether only the fleet can admit a call: to its probes."""
        circuit = at(self._circuit, self.options, now)
        probing = circuit.state == "open" or (circuit.state == "half_open" and not circuit.stage)
        return self._own is None and probing and mode_of(circuit, self.options) == "auto"

    def _take(self, permit: str, admission: Admission | None) -> Ticket:
        if admission is None:
            return self._decide(permit)
        if admission.allowed:
            return Permit(admission.permit, asked=True) if admission.permit else self._window or Permit("", asked=False)
        with self._lock:
            self._refuse_until = max(self._refuse_until, self.clock() + min(admission.retry_after, ASK_AGAIN))
        return self._refuse(admission.retry_after)

    def _decide(self, permit: str) -> Ticket:
        """Decide by what this process knows."""
        with self._lock:
            now = self.clock()
            circuit, admission = admit(self._standing, self.options, now, permit, self._draw())
            self._move(circuit, now)
            window = self._window
        self._notices.send()
        if not admission.allowed:
            self._refuse(admission.retry_after)
        return Permit(admission.permit, asked=False) if admission.permit or window is None else window

    def _refuse(self, retry_after: float) -> NoReturn:
        next(self._rejections)
        circuit = self._standing
        if circuit.state == "half_open" and not circuit.stage:
            retry_after = min(retry_after, PROBE_ENDS_WITHIN)
        raise CircuitOpen(self.name, self._shown, retry_after, self._why)

    # --- out ---

    def raised(self, ticket: Ticket, began: float, error: BaseException) -> None:
        """Count a call that raised."""
        result = classify(error, self.options)
        self.ended(ticket, began, result, describe(error) if result == "failed" else "")

    def ended(self, ticket: Ticket, began: float, result: Result, reason: str = "") -> None:
        """Count the end of a call.

        Args:
            ticket: What it was let in with.
            began: When, by the clock; 0 if calls need no clock.
            result: What it counts as.
            reason: The failure in one line, if it is one.
        """
        now = self.clock()
        slow = result != "void" and now - began >= self.slow_from
        if isinstance(ticket, Permit):
            if slow and result == "ok":
                result, reason = "failed", f"a probe took {now - began:.3g} s"
            self._end_probe(ticket, now, result, slow=slow, reason=reason)
        elif result != "void":
            self._count(ticket, now, failed=result == "failed", slow=slow, reason=reason)

    def _count(self, window: Window, now: float, *, failed: bool, slow: bool, reason: str) -> None:
        number = 0
        if not (failed or slow) and window is self._window:
            number = next(self.numbers)
            if not window.due(number, now):
                return
        with self._lock:
            self._failures += failed
            self._slow += slow
            self._pass_time(now)
            if window is self._window:
                number = number or next(self.numbers)
                in_run = window.in_run
                counts = window.add(number, now, failed=failed, slow=slow)
                if failed or slow or in_run:
                    self._tell_count(number, failed=failed, slow=slow, reason=reason)
                self._judge(counts, now, reason)
            else:  # let in before the circuit opened, or under an order that is over: tells nothing new
                self._beside += not number
        self._notices.send()

    def _end_probe(self, permit: Permit, now: float, result: Result, *, slow: bool, reason: str) -> None:
        if not permit.name:
            return
        with self._lock:
            self._beside += result != "void"
            self._failures += result == "failed"
            self._slow += slow
            self._move(probed(self._standing, self.options, now, result, permit.name, self._draw(), reason), now)
            if permit.asked:
                self._tell(Ended(result, slow=int(slow), permit=permit.name, reason=reason))
        self._notices.send()

"""Where a breaker stands in one process: its circuits, the window that counts, and what follows from them for the next call."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import inf
from threading import RLock
from typing import TYPE_CHECKING, cast

from recovery.breaker.changes import Change, Notices
from recovery.breaker.circuit import Circuit, Shown, at, mode_of, obeyed, opened, opens_for, shown
from recovery.breaker.fleet import Ended, Fleet
from recovery.breaker.judgement import Counts, verdict
from recovery.breaker.options import BreakerOptions
from recovery.breaker.window import Window

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker

MOST_UNTOLD = 1_000
"""Ends of calls that wait to be told; what comes when the fleet takes them more slowly is added up, so that memory is bounded."""


class Standing:
    """A breaker's state in one process, which `Turnstile` moves by calls and `InStep` by what the fleet says.

    With a quorum this process's own opening is a cycle of its own (`_own`) beside the fleet's, and stands before it.
    """

    passing: Window | None
    """Where calls count that are let in without a question; None: ask `enter`."""

    def __init__(
        self,
        name: str,
        options: BreakerOptions,
        fleet: Fleet | None,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self.name = name
        self.options = options
        self.measures = options.slow_call_duration is not None
        """Say whether the beginning of a call needs the clock."""
        self.timed = options.has_rates and (self.measures or options.window_seconds is not None)
        """Say whether the end of a call needs the clock."""
        self.slow_from = options.slow_call_duration if options.slow_call_duration is not None else inf
        self._fleet = fleet
        self.clock = clock
        self._draw = draw
        self._notices = Notices()
        self._circuit = Circuit()
        self._own: Circuit | None = None
        self._version = 0
        self._why = ""
        self._refuse_until = -inf
        self._window: Window | None = None
        self._shown: Shown = shown(self._circuit, options, clock())
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: it has counted nothing, its parent's calls do not end here, and its threads hold no lock."""
        self._forget()
        self._notices.renew()
        self._lock = RLock()  # a signal handler, or `__del__`, may call through a breaker that it has interrupted
        self.numbers = count(1)
        """Numbers the calls that windows count."""
        self._rejections = count(1)
        self._beside = self._failures = self._slow = 0
        self._told = 0
        self._unanswered = self._asking = 0
        self._merged: Ended | None = None
        self._unheard: Ended | None = None
        self._opening, self._opening_taken = "", True
        self._warned = False
        self._stand(replace(self._circuit, permits=()), None, self.clock())

    @property
    def circuit(self) -> Circuit:
        """Return what stands here now; its times are of this process's monotonic clock."""
        return at(self._standing, self.options, self.clock())

    @property
    def state(self) -> Shown:
        """Return the state as this process sees it: `closed`, `open`, `half_open`, `repairing`, or a mode that somebody set."""
        now = self.clock()
        return shown(at(self._standing, self.options, now), self.options, now)

    @property
    def _breaker(self) -> "Breaker":
        return cast("Breaker", self)  # only whole breakers are made; the fleet talks to those

    @property
    def _voting(self) -> bool:
        return self._fleet is not None and self.options.quorum > 1

    @property
    def _standing(self) -> Circuit:
        return self._own or self._circuit

    # --- judging and telling, under the lock ---

    def _judge(self, counts: Counts, now: float, failure: str) -> None:
        """Open the circuit if the counts say so. Shares are the fleet's to judge while it hears, unless a quorum must vote."""
        if self._fleet is not None and not self._voting and self._fleet.hears(self._breaker):
            counts = Counts(in_a_row=counts.in_a_row)
        why = verdict(counts, self.options)
        if not why:
            return
        reason = f"{why}, at last {failure}" if failure else why
        if mode_of(self._circuit, self.options) == "metrics_only":
            if not self._warned:
                self._warned = True
                self._notices.add(Change(self.name, "metrics_only", "metrics_only", f"would have opened: {reason}"))
            return
        circuit = opened(at(self._standing, self.options, now), self.options, now, self._draw(), reason)
        if self._voting and self._own is None:
            self._own = self._circuit
        self._move(circuit, now)

    def _tell_count(self, number: int, *, failed: bool, slow: bool, reason: str) -> None:
        before, self._told = number - 1 - self._told, max(number, self._told)
        if before >= 0:  # else a summary has told it already
            self._tell(Ended("failed" if failed else "ok", ok_before=before, slow=int(slow), reason=reason))

    def _tell(self, ended: Ended) -> None:
        if self._fleet is None or (self._voting and not ended.permit):
            return
        if not ended.permit and (self._merged or self._unanswered >= MOST_UNTOLD):
            self._merged = self._merged.then(ended) if self._merged else ended
            return
        self._unanswered += 1
        self._fleet.tell(self._breaker, ended)

    # --- standing, under the lock ---

    def _move(self, circuit: Circuit, now: float) -> None:
        """Go on to the next state of what stands here, and let the others know of it."""
        before = self._standing
        if circuit is before:
            return
        opens = circuit.state == "open" and before.state != "open"
        if self._own is None:
            if opens:
                self._opening, self._opening_taken = circuit.reason, False
            self._stand(circuit, None, now)
        else:
            closes = circuit.state == "closed"
            self._stand(self._circuit, None if closes else circuit, now)
            if self._fleet is not None and circuit.state != before.state:
                self._fleet.vote(self._breaker, None if closes else circuit.reason)

    def _pass_time(self, now: float) -> None:
        """End an order whose time is over; calls that were let in under it count no more."""
        self._move(obeyed(self._standing, now), now)

    def _stand(self, circuit: Circuit, own: Circuit | None, now: float) -> None:
        """Take this state, and have at hand what follows from it for the next call."""
        before, mode_before = self._shown, mode_of(self._circuit, self.options)
        self._circuit, self._own = circuit, own
        standing, mode = self._standing, mode_of(self._circuit, self.options)
        self._shown = shown(standing, self.options, now)
        letting = mode == "metrics_only" or (mode == "auto" and standing.state == "closed")
        counting = letting or (mode == "auto" and standing.stage > 0)
        if not counting or mode != mode_before:
            self._forget()
        if counting and self._window is None:
            self._told = self.count_calls()
            self._window = Window(self.options, self._told, now)
        self.passing = self._window if letting and standing.ordered.until is None else None  # else somebody must look whether it is over
        self._why = standing.reason if standing.mode == "auto" else standing.ordered.reason
        self._warned &= mode == "metrics_only"
        self._refuse_until = -inf
        if mode == "forced_open":
            self._refuse_until = inf if standing.ordered.until is None else standing.ordered.until
        elif mode == "auto" and standing.state == "open":
            self._refuse_until = now + opens_for(standing, now)
        if before != self._shown:
            self._notices.add(Change(self.name, before, self._shown, self._why))

    def _forget(self) -> None:
        """End the window; calls that are still under way count no more."""
        if self._window is not None:
            self._window.retire()
            self._window = None

    def count_calls(self) -> int:
        """Return how many calls windows have counted."""
        return _taken(self.numbers)

    def count_rejections(self) -> int:
        """Return how many calls were refused."""
        return _taken(self._rejections)


def _taken(numbers: "count[int]") -> int:
    """Return how many numbers were taken from `count(1)`."""
    return int(repr(numbers)[6:-1]) - 1  # the only way to read it without moving it on

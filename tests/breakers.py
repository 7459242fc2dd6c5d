"""What tests of breakers share: clock and chance, calls that fail, a fleet that records, and a slow breaker told in plain words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor

import pytest

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.circuit import Admission, Circuit
from recovery.breaker.fleet import Ended, FleetView, Order
from recovery.errors import CircuitOpen

OPTIONS = BreakerOptions(failure_threshold=2, success_threshold=1, reset_timeout=10.0, half_open_requests=1, jitter=0, ignore=(KeyError,))
FLEET_TIME = 77_000.0
HALF_OPEN = Circuit(state="half_open", streak=1, trips=1)

Way = Callable[[Breaker, Callable[[], object]], None]


class Clock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Chance:
    def __init__(self) -> None:
        self.draw = 0.5

    def __call__(self) -> float:
        return self.draw


class RecordingFleet:
    """Hears everything; answers what it was told to."""

    def __init__(self) -> None:
        self.connected = True
        self.told: list[Ended] = []
        self.votes: list[str | None] = []
        self.orders: list[Order] = []
        self.answer: Admission | None = None
        self.asked = 0

    def hears(self, breaker: Breaker) -> bool:
        return self.connected

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        self.asked += 1
        return self.answer

    def tell(self, breaker: Breaker, ended: Ended) -> None:
        self.told.append(ended)

    def vote(self, breaker: Breaker, reason: str | None) -> None:
        self.votes.append(reason)

    def order(self, breaker: Breaker, order: Order) -> bool:
        self.orders.append(order)
        return self.connected


def look(breaker: Breaker) -> str:
    """The state as text, so that mypy does not take one look for the next."""
    return breaker.state


def boom() -> None:
    raise ValueError("boom")


def by_call(breaker: Breaker, function: Callable[[], object]) -> None:
    breaker.call(function)


def trip(breaker: Breaker, way: Way = by_call) -> None:
    for _ in range(breaker.options.failure_threshold or 0):
        with pytest.raises(ValueError, match="boom"):
            way(breaker, boom)


def is_refused(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except CircuitOpen:
        return True
    return False


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="boom"):
            breaker.call(boom)


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.call(lambda: None)


def view(version: int, circuit: Circuit | None = None, in_a_row: int = 0) -> FleetView:
    return FleetView(circuit or Circuit(), now=FLEET_TIME, version=version, in_a_row=in_a_row)


def open_for(seconds: float) -> Circuit:
    return Circuit(state="open", opened_at=FLEET_TIME, retry_at=FLEET_TIME + seconds, streak=1, trips=1, reason="elsewhere")


@dataclass
class Entry:
    """A call that was let in: into the window, as a probe, or counted nowhere."""

    began: float
    epoch: int | None = None
    probe: int | None = None


@dataclass
class Refused:
    retry_after: float


@dataclass
class PlainBreaker:
    """One process's breaker with a list of all calls, filtered for every question; nothing here is quick or shared.

    A window of seconds moves on in ten steps; a call belongs to the step in which it ended.
    """

    options: BreakerOptions
    phase: str = "closed"
    mode: str = "auto"
    mode_until: float | None = None
    epoch: int = 0
    ended: list[tuple[float, bool, bool]] = field(default_factory=list)
    """When, whether it failed, whether it was slow."""
    open_until: float = 0.0
    proofs: int = 0
    probes: dict[int, float] = field(default_factory=dict)
    stage: int = 0
    stage_until: float = 0.0
    streak: int = 0
    warnings: int = 0
    warned: bool = False
    last_probe: int = 0
    calls: int = 0
    failures: int = 0
    slow: int = 0
    rejected: int = 0
    trips: int = 0

    def shown(self, now: float) -> str:
        if self.mode_until is not None and now >= self.mode_until:
            return "closed"
        if self.mode != "auto":
            return self.mode
        over = self.phase == "ramp" and now >= self.stage_until + (len(self.options.ramp) - self.stage) * self.options.ramp_stage
        return "closed" if over else {"probing": "half_open", "ramp": "half_open"}.get(self.phase, self.phase)

    def enter(self, now: float, chance: float) -> Entry | Refused:
        answer = self._enter(now, chance)
        self.rejected += isinstance(answer, Refused)
        return answer

    def _enter(self, now: float, chance: float) -> Entry | Refused:  # noqa: PLR0911 - one line for each case is the point
        self._obey(now)
        if self.mode == "disabled":
            return Entry(now)
        if self.mode == "forced_open":
            wait = self.options.reset_timeout
            return Refused(wait if self.mode_until is None else min(wait, self.mode_until - now))
        if self.mode == "metrics_only":
            return Entry(now, epoch=self.epoch)
        self._go_on(now)
        if self.phase == "closed":
            return Entry(now, epoch=self.epoch)
        if self.phase == "open":
            if now < self.open_until:
                return Refused(self.open_until - now)
            self.phase, self.proofs, self.probes = "probing", 0, {}
        if self.phase == "ramp":
            share = self.options.ramp[self.stage - 1]
            return Entry(now, epoch=self.epoch) if chance * 100 < share else Refused(self.stage_until - now)
        self.probes = {probe: until for probe, until in self.probes.items() if until > now}
        if len(self.probes) >= self.options.half_open_requests:
            return Refused(min(1.0, min(self.probes.values()) - now))
        self.last_probe += 1
        self.probes[self.last_probe] = now + self.options.permit_timeout
        return Entry(now, probe=self.last_probe)

    def end(self, entry: Entry, now: float, result: str, chance: float) -> None:
        self._obey(now)
        if result == "void":
            self.probes.pop(entry.probe or 0, None)
        elif entry.probe is not None or entry.epoch is not None:
            limit = self.options.slow_call_duration
            slow = limit is not None and now - entry.began >= limit
            failed = result == "failed"
            self.calls += 1
            self.slow += slow
            self.failures += failed or (entry.probe is not None and slow)
            if entry.probe is not None:
                self._end_probe(entry.probe, now, chance, failed=failed or slow)
            elif entry.epoch == self.epoch:
                self._end_call(now, chance, failed=failed, slow=slow)

    def order(self, order: str, now: float, until: float | None = None) -> None:
        self._obey(now)
        mode, self.mode_until = "auto" if order == "reset" else order, until
        if order == "reset" or (order == "auto" and self.mode != "auto"):
            self._close()
        elif mode != self.mode:
            self._forget()
        if mode != self.mode:
            self.mode, self.warned = mode, False

    def _obey(self, now: float) -> None:
        if self.mode_until is not None and now >= self.mode_until:
            self.mode_until = None
            self.order("auto", now)

    def _end_probe(self, probe: int, now: float, chance: float, *, failed: bool) -> None:
        if self.probes.pop(probe, None) is None:
            return
        if failed:
            self._open(now, chance)
            return
        self.proofs += 1
        if self.proofs < self.options.success_threshold:
            return
        self.probes = {}
        if self.options.ramp:
            self.phase, self.stage, self.stage_until = "ramp", 1, now + self.options.ramp_stage
        else:
            self._close()

    def _end_call(self, now: float, chance: float, *, failed: bool, slow: bool) -> None:
        self.ended.append((now, failed, slow))
        if not self._should_open(now):
            return
        if self.mode == "metrics_only":
            self.warnings += not self.warned
            self.warned = True
        else:
            self._go_on(now)
            self._open(now, chance)

    def _should_open(self, now: float) -> bool:
        options = self.options
        run = next((back for back, (_, failed, _) in enumerate(reversed(self.ended)) if not failed), len(self.ended))
        if options.failure_threshold is not None and run >= options.failure_threshold:
            return True
        window = self.ended[-(options.calls_in_window or 0) :]
        if options.window_seconds is not None:
            step = options.window_seconds / 10
            window = [call for call in self.ended if floor(call[0] / step) > floor(now / step) - 10]
        if len(window) < options.minimum_requests:
            return False
        failed, slow = sum(call[1] for call in window), sum(call[2] for call in window)
        if options.failure_rate is not None and failed / len(window) >= options.failure_rate:
            return True
        return options.slow_call_duration is not None and slow / len(window) >= options.slow_call_rate

    def _go_on(self, now: float) -> None:
        while self.phase == "ramp" and now >= self.stage_until:
            self.stage, self.stage_until = self.stage + 1, self.stage_until + self.options.ramp_stage
            if self.stage > len(self.options.ramp):
                self.phase, self.streak = "closed", 0

    def _open(self, now: float, chance: float) -> None:
        options = self.options
        varied = options.reset_timeout * options.backoff_factor**self.streak
        varied = min(varied, options.max_reset_timeout) * (1 + options.jitter * (2 * chance - 1))
        self.phase, self.open_until, self.probes = "open", now + min(varied, options.max_reset_timeout), {}
        self.streak, self.trips = self.streak + 1, self.trips + 1
        self._forget()

    def _close(self) -> None:
        self.phase, self.streak, self.probes = "closed", 0, {}
        self._forget()

    def _forget(self) -> None:
        self.epoch, self.ended = self.epoch + 1, []

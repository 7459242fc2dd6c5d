"""Circuit breakers of one process, for tests and trials: `ports.Breakers` in memory."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Lock

from recovery.breaker.board import moment_of
from recovery.breaker.circuit import (
    NOTHING_ORDERED,
    PROBE,
    Circuit,
    Ordered,
    at,
    closed,
    half_opened,
    makes_room,
    mended,
    mode_of,
    opened,
    probed,
    repairing,
    shown,
    under,
)
from recovery.breaker.judgement import Counts, verdict
from recovery.breaker.options import BreakerOptions, Mode
from recovery.breaker.orders import check_length
from recovery.models import BreakerOrder, BreakerState, BreakerView, utcnow
from recovery.ports import Clock


@dataclass(slots=True)
class _Kept:
    circuit: Circuit = field(default_factory=Circuit)
    options: BreakerOptions = field(default_factory=BreakerOptions)
    counts: Counts = field(default_factory=Counts)
    mode_at: float | None = None

    def become(self, circuit: Circuit) -> None:
        """Go on to the next state; what was counted ends with what it was counted in."""
        if circuit.state == "closed" and (self.circuit.state != "closed" or self.circuit.mode != circuit.mode == "auto"):
            self.counts = Counts()
        self.circuit = circuit

    def pass_time(self, now: float) -> None:
        """Do what time alone does."""
        until = self.circuit.ordered.until
        if until is not None and now >= until:
            self.note_order(until)
        self.become(at(self.circuit, self.options, now))

    def note_order(self, now: float) -> None:
        """Remember when the mode was set: never earlier than the last one, whatever the clock says."""
        self.mode_at = now if self.mode_at is None else max(now, self.mode_at)


class MemoryBreakers:
    """Breakers of one process; implements `ports.Breakers`.

    Args:
        clock: what time it is.
        options: of every breaker.
        chance: from 0 up to but not including 1, for the jitter.
    """

    def __init__(self, clock: Clock = utcnow, options: BreakerOptions | None = None, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._options = options or BreakerOptions()
        self._chance = chance
        self._lock = Lock()
        self._kept: dict[str, _Kept] = {}

    def count(self, name: str, *, ok: bool, reason: str = "") -> BreakerView:
        """Count one call of a service; what callers do by themselves."""
        with self._lock:
            kept, now = self._kept.setdefault(name, _Kept(options=self._options)), self._now()
            kept.pass_time(now)
            before, mode = kept.counts, mode_of(kept.circuit, kept.options)
            if kept.circuit.state == "closed" and mode in {"auto", "metrics_only"}:
                kept.counts = Counts(before.calls + 1, before.failures + (not ok), before.slow, 0 if ok else before.in_a_row + 1)
                why = verdict(kept.counts, kept.options)
                if why and mode == "auto":
                    kept.circuit = opened(kept.circuit, kept.options, now, self._chance(), f"{why}, at last {reason}" if reason else why)
            return self._view(name, kept)

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        return self._change(name, lambda circuit, _options, _now: circuit) if name in self._kept else None

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name."""
        return [view for name in sorted(self._kept) if (view := self.view(name))]

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        return self._change(name, lambda circuit, _options, _now: half_opened(circuit))

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it or begin its ramp, a failure opens it again; else nothing changes."""
        result, reason = ("ok", "") if ok else ("failed", "a probe failed")
        return self._change(
            name,
            lambda circuit, options, now: probed(circuit, options, now, result, PROBE, self._chance(), reason),  # type: ignore[arg-type]
        )

    def operate(
        self, name: str, order: BreakerOrder, by: str, reason: str, seconds: float | None = None, *, give_way: bool = False
    ) -> BreakerView:
        """Do what an operator or a strategy says; `give_way`: not over a mode that somebody else has set. See `orders.py` for `seconds`."""
        check_length(seconds)
        with self._lock:
            kept, now = self._kept.setdefault(name, _Kept(options=self._options)), self._now()
            kept.pass_time(now)
            mode: Mode = "auto" if order is BreakerOrder.RESET else order.value  # type: ignore[assignment]
            if give_way and not makes_room(kept.circuit, mode, by):
                return self._view(name, kept)
            kept.note_order(now)
            if order is BreakerOrder.RESET:
                kept.become(closed(under(kept.circuit, NOTHING_ORDERED)))
                kept.counts = Counts()
            else:
                until = None if seconds is None else now + seconds
                kept.become(under(kept.circuit, Ordered(mode, until, by, reason)))
            return self._view(name, kept)

    def repair(self, services: Collection[str], seconds: float) -> list[str]:
        """Mark the open breakers of these services for so long as under recovery, take the mark from all others; return who bears it."""
        marked = []
        for name, kept in sorted(self._kept.items()):
            mine = (kept.options.service or name) in services
            if mine and kept.circuit.state == "open":
                marked.append(name)
                self._change(name, lambda circuit, _options, now: repairing(circuit, now + seconds))
            elif not mine:
                self._change(name, lambda circuit, _options, _now: repairing(circuit, None))
        return marked

    def mend(self, service: str) -> list[str]:
        """Let callers probe the open breakers of a service that was verified healthy, and take the mark; return who was open."""
        mended_now = []
        for name, kept in sorted(self._kept.items()):
            if (kept.options.service or name) == service:
                if kept.circuit.state == "open":
                    mended_now.append(name)
                self._change(name, lambda circuit, _options, _now: mended(circuit))
        return mended_now

    def _change(self, name: str, change: Callable[[Circuit, BreakerOptions, float], Circuit]) -> BreakerView:
        with self._lock:
            kept, now = self._kept.get(name, _Kept(options=self._options)), self._now()
            kept.pass_time(now)
            kept.become(change(kept.circuit, kept.options, now))
            return self._view(name, kept)

    def _now(self) -> float:
        return self._clock().timestamp()

    def _view(self, name: str, kept: _Kept) -> BreakerView:
        now = self._now()
        circuit, counts, ramp = kept.circuit, kept.counts, kept.options.ramp
        return BreakerView(
            name=name,
            state=BreakerState(shown(circuit, kept.options, now)),
            service=kept.options.service or name,
            mode=BreakerOrder(circuit.mode),
            mode_since=moment_of(kept.mode_at),
            mode_until=moment_of(circuit.ordered.until),
            mode_by=circuit.ordered.by,
            mode_reason=circuit.ordered.reason,
            calls=counts.calls,
            failures=counts.failures,
            slow=counts.slow,
            in_a_row=counts.in_a_row,
            successes=circuit.successes,
            percent=ramp[circuit.stage - 1] if circuit.stage else None,
            opened_at=moment_of(circuit.opened_at),
            retry_at=moment_of(circuit.retry_at),
            repairing_until=moment_of(circuit.repairing_until),
            streak=circuit.streak,
            trips=circuit.trips,
            reason=circuit.reason,
            now=moment_of(now),
        )

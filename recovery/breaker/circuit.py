"""The state machine of a circuit breaker: closed, open, half-open. Pure: state and clock come in, the next state goes out.

The Lua scripts in `lua/` make the same transitions in Redis; one contract suite runs over both.
"""

from dataclasses import dataclass, replace
from typing import Literal

from recovery.breaker.options import BreakerOptions

State = Literal["closed", "open", "half_open"]
Result = Literal["ok", "failed", "void"]
"""What became of a call; `void` says nothing about the service (ignored exception, cancelled)."""

PROBE = "probe"
"""In place of a permit: the result of a probe by a recovery, which needs no permit."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A breaker at one moment. Times are seconds of the clock that the caller passes in."""

    state: State = "closed"
    failures: int = 0
    """Failures in a row."""
    successes: int = 0
    """Successful probes since it went half-open."""
    opened_at: float | None = None
    retry_at: float | None = None
    """When callers may probe it."""
    permits: tuple[tuple[str, float], ...] = ()
    """Probes under way while half-open, with the moment each one stops to count."""
    trips: int = 0
    """How often it opened."""
    reason: str = ""
    """The failure that opened it."""


@dataclass(frozen=True, slots=True)
class Admission:
    """May this call be made?"""

    allowed: bool
    permit: str = ""
    """Hand it back with the result; empty when the circuit is closed."""
    retry_after: float = 0.0
    """Seconds until it is worth asking again."""


def admit(circuit: Circuit, options: BreakerOptions, now: float, permit: str) -> tuple[Circuit, Admission]:
    """Decide about one call; in half-open it gets `permit` if one of the few is free."""
    if circuit.state == "closed":
        return circuit, Admission(allowed=True)
    if circuit.state == "open":
        remaining = (circuit.retry_at or now) - now
        if remaining > 0:
            return circuit, Admission(allowed=False, retry_after=remaining)
        circuit = half_opened(circuit)
    under_way = tuple((holder, until) for holder, until in circuit.permits if until > now)
    if len(under_way) >= options.half_open_requests:
        soonest = min(until for _, until in under_way) - now
        return replace(circuit, permits=under_way), Admission(allowed=False, retry_after=soonest)
    return replace(circuit, permits=(*under_way, (permit, now + options.permit_timeout))), Admission(allowed=True, permit=permit)


def record(
    circuit: Circuit, options: BreakerOptions, now: float, result: Result, *, permit: str = "", count: int = 1, reason: str = ""
) -> Circuit:
    """Return the circuit after `count` calls ended with `result`.

    In half-open only results with a live permit (or `PROBE`) count: a call from before the opening tells nothing new.
    """
    if circuit.state == "closed":
        return _count_while_closed(circuit, options, now, result, count, reason)
    if circuit.state == "half_open" and (permit == PROBE or any(holder == permit for holder, _ in circuit.permits)):
        others = tuple(held for held in circuit.permits if held[0] != permit)
        return _count_probe(replace(circuit, permits=others), options, now, result, reason)
    return circuit


def half_opened(circuit: Circuit) -> Circuit:
    """Return an open circuit as half-open; any other stays as it is."""
    return replace(circuit, state="half_open", successes=0, permits=()) if circuit.state == "open" else circuit


def _count_while_closed(circuit: Circuit, options: BreakerOptions, now: float, result: Result, count: int, reason: str) -> Circuit:
    if result == "ok" and circuit.failures:
        return replace(circuit, failures=0)
    if result != "failed":
        return circuit
    counted = replace(circuit, failures=circuit.failures + count)
    return _opened(counted, options, now, reason) if counted.failures >= options.failure_threshold else counted


def _count_probe(circuit: Circuit, options: BreakerOptions, now: float, result: Result, reason: str) -> Circuit:
    if result == "void":
        return circuit
    if result == "failed":
        return _opened(circuit, options, now, reason)
    proven = circuit.successes + 1
    return Circuit(trips=circuit.trips) if proven >= options.success_threshold else replace(circuit, successes=proven)


def _opened(circuit: Circuit, options: BreakerOptions, now: float, reason: str) -> Circuit:
    return replace(
        circuit,
        state="open",
        successes=0,
        opened_at=now,
        retry_at=now + options.reset_timeout,
        permits=(),
        trips=circuit.trips + 1,
        reason=reason[:500],
    )

"""The state machine of a circuit breaker. Pure: state, clock and chance come in, the next state goes out.

What counts the calls is `window.py`, what judges the counts is `judgement.py`. The Lua scripts in `lua/` make the same
transitions in Redis; one contract suite runs over both.
"""

from dataclasses import dataclass, replace
from typing import Literal

from recovery.breaker.options import BreakerOptions, Mode

State = Literal["closed", "open", "half_open"]
"""Where the machine itself stands."""
Shown = Literal["closed", "open", "half_open", "repairing", "forced_open", "disabled", "metrics_only"]
"""What people and callers see: the machine's state, unless a recovery is at work or an operator has set a mode."""
Result = Literal["ok", "failed", "void"]
"""What became of a call; `void` says nothing about the service (ignored exception, cancelled)."""

PROBE = "probe"
"""In place of a permit: the result of a probe by a recovery, which needs no permit."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """The mode that somebody has set."""

    mode: Mode = "auto"
    """`auto`: nobody has set one, the machine decides."""
    until: float | None = None
    """When it ends by itself; None: it stands until somebody sets another."""
    by: str = ""
    """Who set it; empty only in what was stored before orders bore a name, and in a breaker of one process alone."""
    reason: str = ""


NOTHING_ORDERED = Ordered()


@dataclass(frozen=True, slots=True)
class Circuit:
    """A breaker at one moment. Times are seconds of the clock that the caller passes in."""

    state: State = "closed"
    successes: int = 0
    """Successful probes since it went half-open."""
    stage: int = 0
    """While half-open: 0 while probes decide, then the place (from 1) of the percentage of `options.ramp` that is let through."""
    stage_until: float | None = None
    """When the next stage of the ramp begins, or all are let through again."""
    opened_at: float | None = None
    retry_at: float | None = None
    """While open: when callers may probe it."""
    repairing_until: float | None = None
    """While open: callers do not probe before, because a recovery does. It passes by itself if nobody renews it."""
    permits: tuple[tuple[str, float], ...] = ()
    """Probes under way while half-open, with the moment each one stops to count."""
    streak: int = 0
    """Openings since it was last closed; the open time grows with them."""
    trips: int = 0
    """How often it opened, ever."""
    reason: str = ""
    """Why it opened."""
    ordered: Ordered = NOTHING_ORDERED

    @property
    def mode(self) -> Mode:
        """Return the mode that somebody has set; `auto`: the machine decides."""
        return self.ordered.mode


@dataclass(frozen=True, slots=True)
class Admission:
    """May this call be made?"""

    allowed: bool
    permit: str = ""
    """Hand it back with the result; empty unless the call is a probe."""
    retry_after: float = 0.0
    """Seconds until it is worth asking again."""


def mode_of(circuit: Circuit, options: BreakerOptions) -> Mode:
    """Return the mode in force: the operator's, else the one that the options begin with."""
    return options.mode if circuit.mode == "auto" else circuit.mode


def shown(circuit: Circuit, options: BreakerOptions, now: float) -> Shown:
    """Return the state as people should see it."""
    mode = mode_of(circuit, options)
    if mode != "auto":
        return mode
    repairing = circuit.state == "open" and circuit.repairing_until is not None and now < circuit.repairing_until
    return "repairing" if repairing else circuit.state


def at(circuit: Circuit, options: BreakerOptions, now: float) -> Circuit:
    """Return the circuit after what time alone does: an order ends, and so do the stages of a ramp."""
    circuit = obeyed(circuit, now)
    while circuit.state == "half_open" and circuit.stage_until is not None and now >= circuit.stage_until:
        if circuit.stage >= len(options.ramp):
            return closed(circuit)
        circuit = replace(circuit, stage=circuit.stage + 1, stage_until=circuit.stage_until + options.ramp_stage)
    return circuit


def admit(circuit: Circuit, options: BreakerOptions, now: float, permit: str, draw: float) -> tuple[Circuit, Admission]:
    """Decide about one call; among probes it gets `permit` if one of the few is free.

    Args:
        circuit: as it stands.
        options: of the breaker.
        now: seconds.
        permit: a name that no other call has.
        draw: chance, from 0 up to but not including 1; decides while the ramp lets a part of the calls through.
    """
    circuit = at(circuit, options, now)
    mode = mode_of(circuit, options)
    if mode != "auto":
        retry_after = refuses_for(circuit, options, now) if mode == "forced_open" else 0.0
        return circuit, Admission(allowed=mode != "forced_open", retry_after=retry_after)
    if circuit.state == "closed":
        return circuit, Admission(allowed=True)
    if circuit.state == "open":
        remaining = opens_for(circuit, now)
        if remaining > 0:
            return circuit, Admission(allowed=False, retry_after=remaining)
        circuit = half_opened(circuit)
    if circuit.stage:
        allowed = draw * 100 < let_through(circuit, options)
        return circuit, Admission(allowed, retry_after=0.0 if allowed else max(0.0, (circuit.stage_until or now) - now))
    under_way = tuple((holder, until) for holder, until in circuit.permits if until > now)
    if len(under_way) >= options.half_open_requests:
        soonest = min(until for _, until in under_way) - now
        return replace(circuit, permits=under_way), Admission(allowed=False, retry_after=soonest)
    return replace(circuit, permits=(*under_way, (permit, now + options.permit_timeout))), Admission(allowed=True, permit=permit)


def let_through(circuit: Circuit, options: BreakerOptions) -> int:
    """Return the percentage of calls that pass in a stage of the ramp: all in one that only the options of another process have."""
    return options.ramp[circuit.stage - 1] if circuit.stage <= len(options.ramp) else 100


def refuses_for(circuit: Circuit, options: BreakerOptions, now: float) -> float:
    """Return the seconds until it is worth asking a circuit again that is forced open: nobody knows when the order is taken back."""
    until = circuit.ordered.until
    return options.reset_timeout if until is None else min(options.reset_timeout, max(0.0, until - now))


def opens_for(circuit: Circuit, now: float) -> float:
    """Return the seconds until callers may probe an open circuit, 0 if they may now."""
    return max(0.0, (circuit.retry_at or now) - now, (circuit.repairing_until or now) - now)


def probed(circuit: Circuit, options: BreakerOptions, now: float, result: Result, permit: str, draw: float, reason: str = "") -> Circuit:
    """Return the circuit after a probe ended; only one with a live permit (or `PROBE`) counts, and only while probes decide.

    A call from before the opening tells nothing new.
    """
    counts = permit == PROBE or any(holder == permit for holder, _ in circuit.permits)
    if circuit.state != "half_open" or circuit.stage or not counts:
        return circuit
    circuit = replace(circuit, permits=tuple(held for held in circuit.permits if held[0] != permit))
    if result == "void":
        return circuit
    if result == "failed":
        return opened(circuit, options, now, draw, reason)
    proven = circuit.successes + 1
    if proven < options.success_threshold:
        return replace(circuit, successes=proven)
    if options.ramp:
        return replace(circuit, successes=proven, permits=(), stage=1, stage_until=now + options.ramp_stage)
    return closed(circuit)


def opened(circuit: Circuit, options: BreakerOptions, now: float, draw: float, reason: str) -> Circuit:
    """Return the circuit open; it stays so for longer each time without a closing in between.

    The time is `reset_timeout * backoff_factor ** openings_before`, varied by the jitter and cut at the ceiling.

    Args:
        circuit: as it stands.
        options: of the breaker.
        now: seconds.
        draw: chance, from 0 up to but not including 1.
        reason: in a sentence; the first 500 characters are kept.
    """
    return Circuit(
        state="open",
        opened_at=now,
        retry_at=now + open_time(options, circuit.streak, draw),
        repairing_until=circuit.repairing_until,
        streak=circuit.streak + 1,
        trips=circuit.trips + 1,
        reason=reason[:500],
        ordered=circuit.ordered,
    )


def open_time(options: BreakerOptions, openings_before: int, draw: float) -> float:
    """Return the seconds that an opening lasts."""
    ceiling = max(options.max_reset_timeout, options.reset_timeout)
    try:
        grown = min(ceiling, options.reset_timeout * options.backoff_factor**openings_before)
    except OverflowError:
        grown = ceiling
    return min(ceiling, grown * (1 + options.jitter * (2 * draw - 1)))


def half_opened(circuit: Circuit) -> Circuit:
    """Return an open circuit as half-open; any other stays as it is."""
    if circuit.state != "open":
        return circuit
    return replace(circuit, state="half_open", successes=0, stage=0, stage_until=None, permits=(), retry_at=None)


def closed(circuit: Circuit) -> Circuit:
    """Return the circuit closed: what it went through is forgotten, except how often it opened and what somebody has ordered."""
    return Circuit(trips=circuit.trips, ordered=circuit.ordered)


def shifted(circuit: Circuit, seconds: float) -> Circuit:
    """Return the circuit with its times moved by so many seconds, to another clock."""

    def moved(moment: float | None) -> float | None:
        return None if moment is None else moment + seconds

    return replace(
        circuit,
        stage_until=moved(circuit.stage_until),
        opened_at=moved(circuit.opened_at),
        retry_at=moved(circuit.retry_at),
        repairing_until=moved(circuit.repairing_until),
        permits=tuple((holder, until + seconds) for holder, until in circuit.permits),
        ordered=replace(circuit.ordered, until=moved(circuit.ordered.until)),
    )


def repairing(circuit: Circuit, until: float | None) -> Circuit:
    """Return the circuit with a recovery at work until then; None: it is over. Only an open one waits for it."""
    return replace(circuit, repairing_until=until)


def mended(circuit: Circuit) -> Circuit:
    """Return the circuit after a recovery that was verified: an open one may be probed at once, and nothing waits any longer."""
    return repairing(half_opened(circuit), None)


def under(circuit: Circuit, ordered: Ordered) -> Circuit:
    """Return the circuit under an order; back to `auto` it begins closed, because what it counted is old by then."""
    if ordered.mode != "auto":
        return replace(circuit, ordered=ordered)
    return circuit if circuit.mode == "auto" else closed(replace(circuit, ordered=NOTHING_ORDERED))


def obeyed(circuit: Circuit, now: float) -> Circuit:
    """Return the circuit without an order whose time is over."""
    until = circuit.ordered.until
    return circuit if until is None or now < until else under(circuit, NOTHING_ORDERED)


def makes_room(circuit: Circuit, mode: Mode, by: str) -> bool:
    """Say whether `by`, who leaves the orders of others alone, may order `mode`: nobody else's is in force.

    Before orders bore a name those who do so only forced open, so that may be theirs, and they may end it.
    """
    ordered = circuit.ordered
    nameless = not ordered.by and ordered.mode == "forced_open"
    return ordered.mode == "auto" or ordered.by == by or (nameless and mode == "auto")

"""What both stores must agree on: how reports merge, what a transition keeps, when a decision is a repeat. Pure functions."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from recovery.clocks import ahead, service_until, still_runs
from recovery.errors import LeaseLost
from recovery.models import (
    Answer,
    Approval,
    Attempt,
    AttemptState,
    BreakerChange,
    BreakerState,
    CheckState,
    Choice,
    Decision,
    Event,
    Failure,
    JsonObject,
    Kind,
    Lease,
    Recovery,
    RecoveryState,
    ServiceState,
    Severity,
    Silence,
)
from recovery.models.frozen import altered

OPEN_GUARD = "one_open_recovery"
QUIET_GUARD = "quiet_period"
PREFIX_LENGTH = 6
"""Fewest characters of an id that are looked up as a prefix."""
ASKED_FOR = frozenset({Kind.MANUAL, Kind.EMERGENCY})
"""Kinds of recoveries that a person asked for: they say nothing about how much of the fleet is failing."""
BELATED = timedelta(days=1)
"""A report that is older is judged by itself, so that nobody must look at the recoveries of long ago."""
PULSE_BACK = timedelta(minutes=1)
"""A pulse this much older than the known one is no straggler: the clock was set back."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two moments; a missing one loses."""
    return max((moment for moment in (one, other) if moment is not None), default=None)


def latest_honest(now: datetime, until: datetime) -> datetime:
    """Return the moment beyond which a hold, asked for as `until` is at `now`, can only come from a clock that was set back since."""
    return now + 3 * (until - now)


def merged(row: Recovery, failure: Failure) -> Recovery:
    """Return the open recovery `row` after one more report of its failure."""
    return replace(
        row,
        failures=row.failures + 1,
        last_failure_at=later(row.last_failure_at, failure.occurred_at),
        severity=min(row.severity, failure.severity, key=lambda severity: severity.rank),
    )


def absorbs(row: Recovery, failure: Failure, now: datetime) -> bool:
    """Say whether the closed recovery `row` still takes equal failures in.

    What was left alone says nothing about a failure that is more severe.
    """
    if row.state is RecoveryState.SUPPRESSED and failure.severity.rank < row.severity.rank:
        return False
    alike = row.service == failure.service and row.fingerprint == failure.fingerprint
    return alike and (is_quiet(row, now) or is_belated(row, failure, now))


def is_belated(row: Recovery, failure: Failure, now: datetime) -> bool:
    """Say whether `failure` tells late of what was over when `row` was closed for that very reason."""
    if row.state is not RecoveryState.SUPPRESSED or row.quiet_until is None or row.finished_at is None:
        return False
    return row.quiet_until <= row.finished_at and quiet_from(failure, now) < row.quiet_until


def quiet_from(failure: Failure, now: datetime) -> datetime:
    """Return the moment after which the quiet of a closed recovery must end, if it shall absorb `failure` at `now`."""
    return max(min(now, failure.occurred_at), now - BELATED)


def is_quiet(row: Recovery, now: datetime) -> bool:
    """Say whether `row` is closed and its quiet has not ended at `now`."""
    if row.state.is_open or row.quiet_until is None:
        return False
    return still_runs(row.finished_at or row.created_at, row.quiet_until, now)


def urgency(row: Recovery) -> tuple[int, datetime, str]:
    """Return what recoveries are worked off by: the more severe first, then the older, then by id."""
    return row.severity.rank, row.created_at, row.id


def answered(asked: Approval, answer: Answer, by: str, comment: str, now: datetime) -> Approval:
    """Return the question with this answer; the very same one if it was answered before or has lapsed."""
    if asked.answer is not None or now >= asked.until:
        return asked
    return replace(asked, answer=answer, answered_by=by, answered_at=now, comment=comment)


def not_over(silence: Silence, now: datetime) -> bool:
    """Say whether a silence is in force at `now` or will be."""
    return silence.lifted_at is None and (silence.until is None or now < silence.until)


def is_newer_pulse(known: datetime, at: datetime) -> bool:
    """Say whether a pulse at `at` replaces the known one."""
    return at >= known or at <= known - PULSE_BACK


def merge_decision(row: Recovery, failure: Failure, now: datetime) -> Decision:
    """Return the decision that `failure` was merged into `row`, open or quiet."""
    open_now = row.state.is_open
    return Decision(
        service=row.service,
        choice=Choice.MERGE,
        guard=OPEN_GUARD if open_now else QUIET_GUARD,
        reason=f"the {row.kind} recovery of '{row.service}' is open already"
        if open_now
        else f"the last recovery of '{row.service}' {row.state}",
        at=now,
        recovery_id=row.id,
        failure_id=failure.id,
        facts={"fingerprint": failure.fingerprint, "since": (row.finished_at or row.created_at).isoformat()},
        until=None if open_now else row.quiet_until,
    )


def may_run(recovery: Recovery, attempt: Attempt) -> bool:
    """Say whether there is anything left to run: neither the recovery nor the attempt is over."""
    return recovery.state.is_open and attempt.state in {AttemptState.QUEUED, AttemptState.RUNNING}


def attempt_over(lease: Lease, number: int) -> LeaseLost:
    """Return the error for an attempt that nobody may take up any more."""
    return LeaseLost(f"attempt {number} of recovery {lease.recovery_id} is over", recovery_id=lease.recovery_id, attempt=number)


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error for a write with an older fence."""
    return LeaseLost(f"the lease on '{lease.service}' with fence {lease.fence} is not the newest", service=lease.service, fence=lease.fence)


@dataclass(frozen=True, slots=True)
class Restless:
    """What of a recovery may be another than it was read, though its version is not.

    Reports merge into it, people cancel it, and its wait may be cut short.
    """

    version: int
    reason: str
    due_at: datetime | None
    failures: int
    last_failure_at: datetime | None
    severity: Severity
    cancel_requested: bool


def wake_up(row: Recovery | Restless, before: Recovery, after: Recovery) -> datetime | None:
    """Return the `due_at` that a transition stores.

    A merge or a cancellation may have made the row due after `before` was read: then the earlier moment wins, so that
    the transition cannot put the wake-up off.
    """
    if after.due_at is None or row.due_at is None or row.due_at == before.due_at:
        return after.due_at
    return min(row.due_at, after.due_at)


def stored(row: Recovery | Restless, before: Recovery, after: Recovery) -> Recovery:
    """Return what a transition from `before` to `after` makes of the present `row`.

    The reason of a cancellation that came in between stays, for the transition that obeys it.
    """
    cancelled_meanwhile = row.cancel_requested and not before.cancel_requested and after.state.is_open
    return altered(
        after,
        reason=row.reason if cancelled_meanwhile else after.reason,
        due_at=wake_up(row, before, after),
        failures=row.failures,
        last_failure_at=row.last_failure_at,
        severity=row.severity,
        cancel_requested=row.cancel_requested,
        version=row.version + 1,
    )


def begins(before: Recovery, after: Recovery) -> bool:
    """Say whether a transition begins the first attempt: from then on, what earlier recoveries came to is out of date."""
    return before.attempt == 0 and after.attempt > 0


def repeat_key(decision: Decision) -> str:
    """Return 32 hex digits that equal decisions share: everything but time and the numbers in the reason."""
    reason = _NUMBER.sub("#", decision.reason)
    fingerprint = decision.facts.get("fingerprint", "") if decision.choice is Choice.MERGE else ""
    parts = (decision.choice, decision.guard, decision.strategy or "", decision.recovery_id or "", reason, str(fingerprint))
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def by_service(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """Return the decisions of each service, in their order."""
    grouped: dict[str, list[Decision]] = {}
    for decision in decisions:
        grouped.setdefault(decision.service, []).append(decision)
    return grouped


def newer_check(row: CheckState | None, state: CheckState, now: datetime | None = None) -> bool:
    """Say whether `state` may replace the stored `row`: it is not older, or the row lies in the future of `now`."""
    return row is None or row.at is None or ahead(row.at, now) or (state.at is not None and state.at >= row.at)


def seen_before_start(service: ServiceState | None, state: CheckState, now: datetime | None = None) -> bool:
    """Say whether `state` was seen before the last start of its service, so that it no longer counts."""
    if service is None or service.started_at is None or ahead(service.started_at, now):
        return False
    return state.at is not None and state.at < service.started_at


def seen_service(row: ServiceState | None, state: ServiceState, now: datetime | None = None) -> ServiceState:
    """Return what a sweep's `state` makes of the stored `row`: an older look is dropped, a later start is kept.

    What lies in the future of `now` was written before the clock was set back: such a row is replaced, such moments become `now`.
    """
    if row is None:
        return service_until(state, now)
    if row.seen_at is not None and not ahead(row.seen_at, now) and (state.seen_at is None or state.seen_at < row.seen_at):
        return row
    return service_until(replace(state, started_at=later(row.started_at, state.started_at)), now)


def sweep_is_due(last: datetime, now: datetime, interval: float) -> bool:
    """Say whether a sweep that last began at `last` may begin again; a clock that was set back does not stop it."""
    return (now - last).total_seconds() >= interval / 2 or ahead(last, now)


_OPEN = frozenset({BreakerState.OPEN.value, BreakerState.REPAIRING.value, BreakerState.FORCED_OPEN.value})


def event_of(change: BreakerChange) -> list[Event]:
    """Return the event of a breaker's change: `circuit:open`, `circuit:half-open`, `circuit:closed`; none for what is no such step."""
    if change.after in _OPEN:
        word = "" if change.before in _OPEN else "open"
    else:
        word = {"half_open": "half-open", "closed": "closed"}.get(change.after, "")
    data: JsonObject = {"breaker": change.breaker, "before": change.before, "after": change.after, "reason": change.reason}
    data |= {"trips": change.trips, "by": change.by}
    return [Event(f"circuit:{word}", change.at, change.service or change.breaker, data=data)] if word else []


def audited(event: Event) -> dict[str, Any]:
    """Return the row of the audit trail that goes with an event; its actor is the `by` of the event's data."""
    detail: JsonObject = {"service": event.service, **event.data}
    return {"action": event.name.replace(":", "_"), "actor": str(event.data.get("by", "")), "detail": detail, "at": event.at}

"""The transitions of a recovery as values: what the row becomes, which rows go with it, and what to do next. Pure.

pending -> in_progress -> succeeded | failed
   |            |
   +------------+-------> cancelled | suppressed
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recovery.decide.facts import Facts
from recovery.decide.guards import Verdict, not_installed, object_to_strategy
from recovery.models import (
    Action,
    Attempt,
    AttemptState,
    Choice,
    Decision,
    Event,
    Mitigation,
    Outcome,
    PlannedAttempt,
    Recovery,
    RecoveryState,
)
from recovery.ports import Directive, Done, Execute, Wait

RENEW_BEFORE_END = 0.1
"""A mitigation may be renewed by a new recovery in the last tenth of its time, so that it has no gap while the service is still sick."""


@dataclass(frozen=True, slots=True)
class Move:
    """One transition: the row as it will be, with everything that commits together with it."""

    after: Recovery
    directive: Directive
    attempt: Attempt | None = None
    decisions: Sequence[Decision] = ()
    events: Sequence[Event] = ()
    mitigation: Mitigation | None = None
    ended: Mitigation | None = None


def wait(recovery: Recovery, until: datetime, decisions: Sequence[Decision] = (), reason: str = "") -> Move:
    """Stay open and look again at `until`."""
    after = replace(recovery, due_at=until, reason=reason or recovery.reason)
    return Move(after, Wait(recovery.id, until), decisions=decisions)


def send(recovery: Recovery, attempt: Attempt, again_at: datetime) -> Move:
    """Send the strategy task of `attempt`; if nobody took it up by `again_at`, the tick sends it again."""
    directive = Execute(recovery.id, recovery.service, attempt.strategy, attempt.queue, attempt.number)
    return Move(replace(recovery, due_at=again_at), directive, attempt)


def start(facts: Facts, planned: PlannedAttempt, number: int, again_at: datetime, decisions: Sequence[Decision]) -> Move:
    """Begin attempt `number` with `planned`."""
    recovery, now = facts.recovery, facts.now
    attempt = Attempt(
        recovery_id=recovery.id,
        number=number,
        service=recovery.service,
        strategy=planned.strategy,
        queue=planned.queue,
        action=planned.action,
        state=AttemptState.QUEUED,
        created_at=now,
        kind=recovery.kind,
    )
    after = replace(
        recovery,
        state=RecoveryState.IN_PROGRESS,
        attempt=number,
        started_at=recovery.started_at or now,
        reason=f"attempt {number}: {planned.strategy}",
    )
    act = Decision(
        service=recovery.service,
        choice=Choice.ACT,
        guard="all_clear",
        reason=f"{planned.strategy}: {planned.why}; no guard objects",
        at=now,
        recovery_id=recovery.id,
        strategy=planned.strategy,
        failure_id=facts.failure.id if facts.failure else None,
        facts={"attempt": number, "estimated_seconds": recovery.plan.estimated_seconds},
    )
    name = "recovery:started" if number == 1 else "recovery:action"
    happened = Event(
        name, now, recovery.service, recovery.id, {"strategy": planned.strategy, "attempt": number, "category": str(recovery.category)}
    )
    return replace(send(after, attempt, again_at), decisions=(*decisions, act), events=(happened,))


def suppress(facts: Facts, verdict: Verdict) -> Move:
    """Close without acting, because a guard objects."""
    quiet = verdict.until or facts.now + timedelta(seconds=facts.fleet.platform.retry_failed_after)
    after = replace(facts.recovery, quiet_until=quiet if verdict.quiet else None)
    closed = close(after, RecoveryState.SUPPRESSED, None, verdict.reason, facts.now)
    return replace(closed, decisions=(verdict.decision(facts),))


def succeed(facts: Facts, attempt: Attempt, holds_for: float | None) -> Move:
    """Close as succeeded; a remedy that only mitigates leaves a mitigation behind for `holds_for` seconds."""
    recovery, now = facts.recovery, facts.now
    outcome = attempt.outcome or Outcome.UNKNOWN
    ended = _taken_away(attempt)
    if outcome is not Outcome.MITIGATED or holds_for is None:
        return replace(close(recovery, RecoveryState.SUCCEEDED, outcome, attempt.reason, now), ended=ended)
    until = now + timedelta(seconds=holds_for)
    after = replace(recovery, quiet_until=until - timedelta(seconds=holds_for * RENEW_BEFORE_END))
    put = Mitigation(recovery.service, attempt.strategy, recovery.id, now, until)
    return replace(close(after, RecoveryState.SUCCEEDED, outcome, attempt.reason, now), mitigation=put)


def exhaust(facts: Facts, attempts: Sequence[Attempt], decisions: Sequence[Decision]) -> Move:
    """Close as failed: nothing is left to try."""
    recovery, now = facts.recovery, facts.now
    acted = any(attempt.outcome is Outcome.INEFFECTIVE for attempt in attempts)
    tried = ", ".join(f"{attempt.strategy} ({attempt.outcome})" for attempt in attempts)
    left_out = "; ".join(f"{left.strategy}: {left.why}" for left in recovery.plan.left_out)
    skipped = "; ".join(decision.reason for decision in decisions)
    parts = [
        f"tried {tried}" if tried else "nothing could be tried",
        f"left out: {left_out}" if left_out else "",
        f"held back: {skipped}" if skipped else "",
    ]
    reason = "; ".join(part for part in parts if part)
    escalate = Decision(
        service=recovery.service,
        choice=Choice.ESCALATE,
        guard="plan_exhausted",
        reason=f"needs a person: {reason}",
        at=now,
        recovery_id=recovery.id,
        failure_id=facts.failure.id if facts.failure else None,
        facts={"attempts": len(attempts), "planned": len(recovery.plan.attempts)},
        until=now + _pause_after_failure(facts, attempts, decisions),
    )
    after = replace(recovery, quiet_until=escalate.until)
    closed = close(after, RecoveryState.FAILED, Outcome.INEFFECTIVE if acted else Outcome.FAILED, reason, now)
    return replace(closed, decisions=(*decisions, escalate), ended=_taken_away(attempts[-1]) if attempts else None)


def _pause_after_failure(facts: Facts, attempts: Sequence[Attempt], held_back: Sequence[Decision]) -> timedelta:
    """Where every strategy has reached its cap, nothing can change before the service could have been stable for long enough."""
    platform = facts.fleet.platform
    capped = not attempts and bool(held_back) and all(decision.guard == "attempt_cap" for decision in held_back)
    return timedelta(seconds=max(platform.retry_failed_after, platform.stable_after if capped else 0.0))


def _taken_away(attempt: Attempt) -> Mitigation | None:
    """The mitigation that `attempt` took away, also when the service turned out to be sick without it."""
    gone = attempt.action is Action.REVERT and attempt.outcome is not Outcome.FAILED
    return Mitigation(attempt.service, attempt.strategy, attempt.recovery_id, attempt.created_at, attempt.created_at) if gone else None


def cancel(recovery: Recovery, attempt: Attempt | None, reason: str, now: datetime, quiet: timedelta) -> Move:
    """Close as cancelled; an attempt that nobody took up is marked as skipped."""
    skipped = None
    if attempt and attempt.state is AttemptState.QUEUED:
        skipped = replace(attempt, state=AttemptState.SKIPPED, finished_at=now, reason=reason)
    closed = close(replace(recovery, quiet_until=now + quiet), RecoveryState.CANCELLED, None, reason, now)
    return replace(closed, attempt=skipped)


def close(recovery: Recovery, state: RecoveryState, outcome: Outcome | None, reason: str, now: datetime) -> Move:
    """Close in `state`, with the event that says so."""
    after = replace(recovery, state=state, outcome=outcome, reason=reason, due_at=None, finished_at=now)
    seconds = round((now - recovery.first_evidence_at).total_seconds(), 3)
    happened = Event(
        f"recovery:{state}",
        now,
        recovery.service,
        recovery.id,
        {"outcome": str(outcome) if outcome else None, "reason": reason, "recovery_seconds": seconds},
    )
    return Move(after, Done(recovery.id, outcome), events=(happened,))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What may run next, and why others may not."""

    planned: PlannedAttempt | None
    skipped: Sequence[Verdict] = ()
    decisions: Sequence[Decision] = ()

    @property
    def again_at(self) -> datetime | None:
        """Return when the first of the skipped strategies may run after all."""
        return min((verdict.until for verdict in self.skipped if verdict.until), default=None)


def choose(facts: Facts, tried: Sequence[Attempt], installed: Container[str]) -> Chosen:
    """Return the first strategy of the plan that is `installed`, was not tried yet, and that no guard objects to."""
    done = {attempt.strategy for attempt in tried if attempt.state is AttemptState.FINISHED}
    skipped: list[tuple[str, Verdict]] = []
    for planned in facts.recovery.plan.attempts:
        if planned.strategy in done:
            continue
        verdict = object_to_strategy(facts, planned) if planned.strategy in installed else not_installed(planned)
        if verdict is None:
            return _chosen(facts, planned, skipped)
        skipped.append((planned.strategy, verdict))
    return _chosen(facts, None, skipped)


def _chosen(facts: Facts, planned: PlannedAttempt | None, skipped: Sequence[tuple[str, Verdict]]) -> Chosen:
    decisions = tuple(verdict.decision(facts, strategy) for strategy, verdict in skipped)
    return Chosen(planned, tuple(verdict for _, verdict in skipped), decisions)

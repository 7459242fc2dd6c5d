"""The transitions of a recovery as values: what the row becomes, which rows go with it, and what to do next. Pure.

pending <---> awaiting_approval
   |   ^         |
   v   |         v
 in_progress <---+
   |
   +---> succeeded | failed

Every open state may also go to `cancelled` or `suppressed`, and `pending` to `failed` when there is nothing to try. A recovery
is `in_progress` while something runs; one that is held between two attempts is `pending` again and gives its place in the
action budget back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recovery.decide import budget
from recovery.decide.facts import Facts
from recovery.decide.guards import Verdict
from recovery.decide.judgement import Judgement
from recovery.decide.record import basis_of
from recovery.models import (
    Action,
    Approval,
    Attempt,
    AttemptState,
    Basis,
    Choice,
    Decision,
    Event,
    JsonObject,
    Mitigation,
    Outcome,
    PlannedAttempt,
    Quota,
    Recovery,
    RecoveryState,
)
from recovery.models.frozen import altered
from recovery.ports import Directive, Done, Execute, Wait

RENEW_BEFORE_END = 0.1
"""A mitigation may be renewed by a new recovery in the last tenth of its time, so that it has no gap while the service is still sick."""

PARKED = "max_runs"
"""The guard that gives an attempt up which nobody can finish."""


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
    approval: Approval | None = None
    """A question to put to people."""
    basis: Basis | None = None
    quota: Quota | None = None
    """What must leave room for it, or nothing is written."""


def wait(recovery: Recovery, until: datetime, reason: str = "") -> Move:
    """Stay as it is and look again at `until`."""
    return Move(replace(recovery, due_at=until, reason=reason or recovery.reason), Wait(recovery.id, until))


def park(recovery: Recovery, attempt: Attempt, now: datetime, reason: str, stays: str, left: Mitigation | None) -> Move:
    """Give `attempt` up as failed, because nobody can finish it; what it did and nobody took back (`stays`) is for a person to look at."""
    said = f"{reason}; {stays}" if stays else reason
    lost = replace(attempt, state=AttemptState.FINISHED, outcome=Outcome.FAILED, reason=said, finished_at=now)
    choice, told = (Choice.ESCALATE, f"needs a person: {said}") if stays else (Choice.SKIP, said)
    facts: JsonObject = {"attempt": attempt.number, "runs": attempt.runs, "stays": stays}
    decision = Decision(recovery.service, choice, PARKED, told, now, recovery.id, attempt.strategy, recovery.failure_id, facts)
    data: JsonObject = {"strategy": attempt.strategy, "attempt": attempt.number, "outcome": str(Outcome.FAILED), "reason": said}
    happened = Event("recovery:action", now, recovery.service, recovery.id, data)
    waiting = wait(recovery, now, reason=said)
    return replace(waiting, attempt=lost, mitigation=left, decisions=(decision,), events=(happened,))


def send(recovery: Recovery, attempt: Attempt, again_at: datetime) -> Move:
    """Send the strategy task of `attempt`; if nobody took it up by `again_at`, the tick sends it again."""
    return Move(replace(recovery, due_at=again_at, held_by=""), _sending(attempt), attempt)


def _sending(attempt: Attempt) -> Execute:
    return Execute(attempt.recovery_id, attempt.service, attempt.strategy, attempt.queue, attempt.number)


def follow(facts: Facts, judgement: Judgement, again_at: datetime) -> Move:
    """Do what was judged: begin an attempt, wait, or close. What it rested on is kept with it."""
    if judgement.planned:
        return _begin(facts, judgement, judgement.planned, again_at)
    return replace(_stop(facts, judgement.verdict), decisions=judgement.decisions, basis=basis_of(facts, judgement))


def _begin(facts: Facts, judgement: Judgement, planned: PlannedAttempt, again_at: datetime) -> Move:
    """Begin the next attempt. What nobody asked for needs room in the budget, unless it has its place already."""
    recovery, now, number = facts.recovery, facts.now, len(facts.tried) + 1
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
        fingerprint=recovery.fingerprint,
    )
    after = altered(
        recovery,
        state=RecoveryState.IN_PROGRESS,
        attempt=number,
        started_at=recovery.started_at or now,
        reason=f"attempt {number}: {planned.strategy}",
        due_at=again_at,
        held_by="",
    )
    name = "recovery:started" if number == 1 else "recovery:action"
    data: JsonObject = {"strategy": planned.strategy, "attempt": number, "category": str(recovery.category)}
    limited = facts.unasked and recovery.state is not RecoveryState.IN_PROGRESS
    return Move(
        after,
        _sending(attempt),
        attempt,
        judgement.decisions,
        (Event(name, now, recovery.service, recovery.id, data),),
        basis=basis_of(facts, judgement),
        quota=budget.quota(facts.fleet, facts.load, now) if limited else None,
    )


def _stop(facts: Facts, verdict: Verdict | None) -> Move:
    assert verdict is not None, "a judgement without a strategy to run says what happens instead"
    if verdict.state.is_open:
        return _hold(facts, verdict)
    return _exhaust(facts, verdict) if verdict.state is RecoveryState.FAILED else _leave(facts, verdict)


def _hold(facts: Facts, verdict: Verdict) -> Move:
    """Wait, in the name of a guard, and ask people if it says so."""
    until = verdict.look_at(facts.now)
    after = replace(facts.recovery, state=verdict.state, due_at=until, reason=verdict.reason, held_by=verdict.guard)
    asks = verdict.state is RecoveryState.AWAITING_APPROVAL and facts.approval is None
    question = Approval(facts.recovery.id, facts.now, verdict.until) if asks and verdict.until else None
    return Move(after, Wait(facts.recovery.id, until), events=_told(facts, verdict), approval=question)


def _leave(facts: Facts, verdict: Verdict) -> Move:
    """Close without acting, because a guard objects."""
    soonest = facts.now + timedelta(seconds=facts.fleet.platform.retry_failed_after)
    quiet = max(verdict.until or soonest, soonest)  # what it names may be over by the time it is looked at
    after = replace(facts.recovery, quiet_until=quiet if verdict.quiet else verdict.over)
    closed = close(after, verdict.state, None, verdict.reason, facts.now)
    return replace(closed, events=(*_told(facts, verdict), *closed.events))


def _exhaust(facts: Facts, verdict: Verdict) -> Move:
    """Close as failed: nothing is left to try."""
    tried = facts.done
    acted = any(attempt.outcome is Outcome.INEFFECTIVE for attempt in tried)
    after = replace(facts.recovery, quiet_until=verdict.until)
    closed = close(after, RecoveryState.FAILED, Outcome.INEFFECTIVE if acted else Outcome.FAILED, verdict.reason, facts.now)
    return replace(closed, ended=_taken_away(tried[-1]) if tried else None)


def _told(facts: Facts, verdict: Verdict) -> tuple[Event, ...]:
    if not verdict.event:
        return ()
    data: JsonObject = {**verdict.numbers, "reason": verdict.reason}
    return (Event(verdict.event, facts.now, facts.service.name, facts.recovery.id, data),)


def succeed(facts: Facts, attempt: Attempt, holds_for: float | None, against: str) -> Move:
    """Close as succeeded; a remedy that only mitigates leaves a mitigation behind for `holds_for` seconds.

    For nine tenths of that time it absorbs reports with the fingerprint `against`.
    """
    recovery, now = facts.recovery, facts.now
    outcome = attempt.outcome or Outcome.UNKNOWN
    ended = _taken_away(attempt)
    if outcome is not Outcome.MITIGATED or holds_for is None:
        return replace(close(recovery, RecoveryState.SUCCEEDED, outcome, attempt.reason, now), ended=ended)
    until = now + timedelta(seconds=holds_for)
    after = replace(recovery, fingerprint=against, quiet_until=until - timedelta(seconds=holds_for * RENEW_BEFORE_END))
    put = Mitigation(recovery.service, attempt.strategy, recovery.id, now, until)
    return replace(close(after, RecoveryState.SUCCEEDED, outcome, attempt.reason, now), mitigation=put)


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


def rehearse(draft: Recovery, standing: Recovery) -> Move:
    """Close a dry run before it was ever open, because the recovery `standing` is: say what it would run."""
    would = ", then ".join(attempt.strategy for attempt in draft.plan.attempts) or "nothing"
    does = f"is held by {standing.held_by}" if standing.held_by else f"is {standing.state}"
    said = f"dry run (recovery): would run {would}; the {standing.kind} recovery {standing.id[:8]} {does} now"
    facts: JsonObject = {"would_run": would, "open": standing.id}
    decision = Decision(draft.service, Choice.SUPPRESS, "dry_run", said, draft.created_at, draft.id, facts=facts)
    return replace(close(draft, RecoveryState.SUPPRESSED, None, said, draft.created_at), decisions=(decision,))


def close(recovery: Recovery, state: RecoveryState, outcome: Outcome | None, reason: str, now: datetime) -> Move:
    """Close in `state`, with the event that says so."""
    after = replace(recovery, state=state, outcome=outcome, reason=reason, due_at=None, held_by="", finished_at=now)
    seconds = round((now - recovery.first_evidence_at).total_seconds(), 3)
    happened = Event(
        f"recovery:{state}",
        now,
        recovery.service,
        recovery.id,
        {"outcome": str(outcome) if outcome else None, "reason": reason, "recovery_seconds": seconds},
    )
    return Move(after, Done(recovery.id, outcome), events=(happened,))

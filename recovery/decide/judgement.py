"""Judges a recovery in which nothing is running: what runs next, or what happens instead. One pure function of the facts.

The coordinator acts on what it says, and `replay` asks it again about facts that were recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from recovery.decide.facts import Facts
from recovery.decide.guards import Verdict, choose, object_to_service, object_to_start, out_of_patience
from recovery.models import Choice, Decision, PlannedAttempt, RecoveryState

Skipped = Sequence[tuple[str, Verdict]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What happens next, with every decision that leads there."""

    decisions: tuple[Decision, ...]
    planned: PlannedAttempt | None = None
    """What runs now."""
    verdict: Verdict | None = None
    """What happens instead, if nothing runs."""


def judge(facts: Facts) -> Judgement:
    """Return what the guards and the plan come to. The same facts give the same judgement."""
    verdict = object_to_service(facts)
    if verdict is not None:
        return Judgement((verdict.decision(facts),), verdict=verdict)
    chosen = choose(facts)
    skipped = tuple(verdict.decision(facts, strategy) for strategy, verdict in chosen.skipped)
    if chosen.planned is None:
        return _nothing_left(facts, chosen.skipped, skipped)
    verdict = object_to_start(facts, chosen.planned)
    if verdict is not None:
        return Judgement((*skipped, verdict.decision(facts, chosen.planned.strategy)), verdict=verdict)
    return Judgement((*skipped, _act(facts, chosen.planned)), planned=chosen.planned)


def _nothing_left(facts: Facts, held_back: Skipped, skipped: tuple[Decision, ...]) -> Judgement:
    """Wait for the first strategy that time alone brings back; without one, a person is needed."""
    waits = [verdict for _, verdict in held_back if verdict.waits]
    if waits:
        first = min(waits, key=lambda verdict: verdict.look_at(facts.now))
        return Judgement(skipped, verdict=replace(first, choice=Choice.DELAY))
    verdict = _exhausted(facts, held_back)
    escalate = replace(verdict.decision(facts), reason=f"needs a person: {verdict.reason}")
    return Judgement((*skipped, escalate), verdict=verdict)


def _exhausted(facts: Facts, held_back: Skipped) -> Verdict:
    plan, tried = facts.recovery.plan, facts.done
    parts = [
        f"tried {', '.join(f'{attempt.strategy} ({attempt.outcome})' for attempt in tried)}" if tried else "nothing could be tried",
        f"left out: {'; '.join(f'{left.strategy}: {left.why}' for left in plan.left_out)}" if plan.left_out else "",
        f"held back: {'; '.join(verdict.reason for _, verdict in held_back)}" if held_back else "",
    ]
    return Verdict(
        Choice.ESCALATE,
        "plan_exhausted",
        "; ".join(part for part in parts if part),
        facts.now + _pause(facts, held_back),
        {"attempts": len(tried), "planned": len(plan.attempts)},
        becomes=RecoveryState.FAILED,
    )


def _pause(facts: Facts, held_back: Skipped) -> timedelta:
    """Where every strategy is worn out, nothing can change before the service was stable for long enough, or it is forgotten."""
    platform = facts.fleet.platform
    stable, pause = timedelta(seconds=platform.stable_after), timedelta(seconds=platform.retry_failed_after)
    if facts.done or not held_back or any(verdict.guard not in {"attempt_cap", "ineffective"} for _, verdict in held_back):
        return pause
    ends = [min(stable, verdict.until - facts.now) if verdict.until else stable for _, verdict in held_back]
    return max(pause, min(ends))


def _act(facts: Facts, planned: PlannedAttempt) -> Decision:
    patience = out_of_patience(facts)
    return Decision(
        service=facts.service.name,
        choice=Choice.ACT,
        guard="all_clear",
        reason=f"{planned.strategy}: {planned.why}; {patience or 'no guard objects'}",
        at=facts.now,
        recovery_id=facts.recovery.id,
        strategy=planned.strategy,
        failure_id=facts.failure.id if facts.failure else None,
        facts={"attempt": len(facts.tried) + 1, "estimated_seconds": facts.recovery.plan.estimated_seconds},
    )

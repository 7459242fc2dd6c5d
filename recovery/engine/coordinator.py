"""Moves a recovery forward: `advance` makes one durable transition and says what to do next; whoever called obeys.

Calling it twice, late, or from two places at once changes nothing but time: the row's version lets one caller through.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.decide.facts import Facts, gather
from recovery.decide.guards import cooling, object_to_service
from recovery.engine import moves
from recovery.engine.chronicle import tell
from recovery.engine.moves import Move
from recovery.errors import RecoveryNotFound
from recovery.models import Action, Attempt, AttemptState, Choice, Mitigation, Outcome, PlannedAttempt, Recovery
from recovery.ports import Clock, Cooldowns, Directive, Done, Store, Strategy, Wait
from recovery.registry import Registry

RESEND_AFTER = timedelta(seconds=10)
"""How long a strategy task may lie in its queue before it is sent again; a second copy finds the lease taken and does nothing."""

DONE_WELL = frozenset({Outcome.RESOLVED, Outcome.MITIGATED, Outcome.UNKNOWN})


class Coordinator:
    """Decides and records the next step of a recovery.

    Args:
        store: where recoveries live; the authority.
        cooldowns: locks that keep a strategy off a service.
        strategies: every strategy there is.
        fleet: returns the configuration in force.
        clock: returns the current time.
    """

    def __init__(
        self, store: Store, cooldowns: Cooldowns, strategies: Registry[Strategy], fleet: Callable[[], Fleet], clock: Clock
    ) -> None:
        self._store = store
        self._cooldowns = cooldowns
        self._strategies = strategies
        self._fleet = fleet
        self._clock = clock

    def advance(self, recovery_id: str) -> Directive:
        """Make at most one transition of a recovery and return what to do next.

        Raises `RecoveryNotFound` for an unknown id and `StoreUnavailable` when the facts cannot be had: nothing was decided
        then, and the tick comes back to it.
        """
        recovery = self._store.recovery(recovery_id)
        if recovery is None:
            raise RecoveryNotFound(f"no recovery has the id {recovery_id}", recovery_id=recovery_id)
        if not recovery.state.is_open:
            return Done(recovery.id, recovery.outcome)
        now = self._clock()
        move = self._next(recovery, now)
        if move is None:
            return Wait(recovery.id, recovery.due_at or now)
        return self._commit(recovery, move, now)

    def _commit(self, before: Recovery, move: Move, now: datetime) -> Directive:
        stored = self._store.transition(
            before,
            move.after,
            attempt=move.attempt,
            decisions=move.decisions,
            events=move.events,
            mitigation=move.mitigation,
            ended=move.ended,
        )
        if stored is not None:
            tell(move.events, move.decisions)
            return move.directive
        return Wait(before.id, now)

    def _next(self, recovery: Recovery, now: datetime) -> Move | None:
        attempts = self._store.attempts(recovery.id)
        current = attempts[-1] if attempts else None
        if current is None or current.state is AttemptState.FINISHED:
            return self._decide(recovery, attempts, now)
        if current.state is AttemptState.QUEUED:
            return self._resend(recovery, current, now)
        return self._watch(recovery, current, now)

    def _decide(self, recovery: Recovery, attempts: list[Attempt], now: datetime) -> Move:
        """Nothing is running: finish, or choose what runs next."""
        fleet = self._fleet()
        if recovery.service not in fleet.services:
            return moves.cancel(recovery, None, f"{recovery.service} is no longer declared", now, timedelta())
        facts = gather(self._store, self._cooldowns, fleet, recovery, now)
        last = attempts[-1] if attempts else None
        if last and last.outcome in DONE_WELL:
            known = last.strategy in self._strategies
            return moves.succeed(facts, last, self._strategies[last.strategy].mitigates_for(facts.service) if known else None)
        if recovery.cancel_requested:
            return self._cancelled(recovery, last, now)
        verdict = object_to_service(facts)
        if verdict and verdict.choice is Choice.DELAY and verdict.until:
            return moves.wait(recovery, verdict.until, [verdict.decision(facts)], verdict.reason)
        if verdict:
            return moves.suppress(facts, verdict)
        return self._choose(facts, attempts)

    def _choose(self, facts: Facts, attempts: list[Attempt]) -> Move:
        chosen = moves.choose(facts, attempts, self._strategies)
        if chosen.planned is not None:
            number = len(attempts) + 1
            left = self._lock(facts, chosen.planned, number)
            if left is None:
                return moves.start(facts, chosen.planned, number, facts.now + RESEND_AFTER, chosen.decisions)
            verdict = cooling(facts, chosen.planned, left)
            return moves.wait(
                facts.recovery, facts.now, [*chosen.decisions, verdict.decision(facts, chosen.planned.strategy)], verdict.reason
            )
        if chosen.again_at is not None:
            return moves.wait(facts.recovery, chosen.again_at, chosen.decisions, chosen.skipped[0].reason)
        return moves.exhaust(facts, attempts, chosen.decisions)

    def _lock(self, facts: Facts, planned: PlannedAttempt, number: int) -> float | None:
        """Take the cooldown lock; return None if we have it or need none, else the seconds it is taken for."""
        service, strategy, holder = facts.service.name, planned.strategy, f"{facts.recovery.id}:{number}"
        seconds = facts.fleet.cooldown(service, strategy)
        free = facts.recovery.force or planned.action is Action.REVERT or seconds <= 0
        if free or self._cooldowns.acquire(service, strategy, holder, seconds):
            return None
        return self._cooldowns.remaining(service, [strategy]).get(strategy, 0.0)

    def _resend(self, recovery: Recovery, current: Attempt, now: datetime) -> Move | None:
        """The attempt was sent and nobody took it up yet."""
        if recovery.cancel_requested:
            self._cooldowns.release(recovery.service, current.strategy, f"{recovery.id}:{current.number}")
            return self._cancelled(recovery, current, now)
        if recovery.due_at and recovery.due_at > now:
            return None
        gone = self._gone(current)
        return self._park(recovery, current, now, gone) if gone else moves.send(recovery, current, now + RESEND_AFTER)

    def _watch(self, recovery: Recovery, current: Attempt, now: datetime) -> Move | None:
        """A worker has the attempt: leave it alone while its lease lives, hand it to another one afterwards."""
        lease = self._store.lease_of(recovery.service)
        if lease and lease.recovery_id == recovery.id and lease.until > now:
            return moves.wait(recovery, lease.until) if recovery.due_at is None or recovery.due_at <= now else None
        gone = self._gone(current)
        if not gone and current.runs < self._fleet().platform.max_runs:
            return moves.send(recovery, current, now + RESEND_AFTER)
        return self._park(recovery, current, now, gone or f"{current.strategy} lost its worker {current.runs} times")

    def _gone(self, current: Attempt) -> str | None:
        """Return why no worker can take the attempt up any more, None if one can: the configuration may have changed meanwhile."""
        if current.service not in self._fleet().services:
            return f"{current.service} is no longer declared"
        return None if current.strategy in self._strategies else f"strategy '{current.strategy}' is no longer installed"

    def _park(self, recovery: Recovery, current: Attempt, now: datetime, reason: str) -> Move | None:
        """Give an attempt up that nobody can finish; the next fence locks out any worker that was only frozen."""
        if self._store.acquire_lease(recovery.service, recovery.id, "coordinator", now, now) is None:
            return None
        lost = replace(current, state=AttemptState.FINISHED, outcome=Outcome.FAILED, reason=reason, finished_at=now)
        return replace(moves.wait(recovery, now, reason=reason), attempt=lost, mitigation=self._left_behind(current, now))

    def _left_behind(self, lost: Attempt, now: datetime) -> Mitigation | None:
        """Return what a lost attempt may have put in place, so that it is taken away once the service is well."""
        service = self._fleet().services.get(lost.service)
        if service is None or lost.strategy not in self._strategies or lost.action is Action.REVERT:
            return None
        holds = self._strategies[lost.strategy].mitigates_for(service)
        if holds is None or not self._store.steps(lost.recovery_id, lost.number):
            return None
        return Mitigation(lost.service, lost.strategy, lost.recovery_id, now, now + timedelta(seconds=holds))

    def _cancelled(self, recovery: Recovery, current: Attempt | None, now: datetime) -> Move:
        quiet = timedelta(seconds=self._fleet().platform.retry_failed_after)
        return moves.cancel(recovery, current, recovery.reason or "cancelled by an operator", now, quiet)

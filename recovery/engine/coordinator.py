"""Moves a recovery forward: `advance` makes one durable transition and says what to do next; whoever called obeys.

Calling it twice, late, or from two places at once changes nothing but time: the row's version lets one caller through.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from recovery.clocks import ahead
from recovery.config.fleet import Fleet
from recovery.decide.facts import Facts, Sight, gather
from recovery.decide.guards import object_to_service
from recovery.decide.judgement import Judgement, judge
from recovery.engine import moves
from recovery.engine.chronicle import tell
from recovery.engine.locks import Locks
from recovery.engine.losses import DONE_WELL, Losses
from recovery.engine.moves import Move
from recovery.engine.sickness import sickness
from recovery.errors import RecoveryNotFound, StoreUnavailable
from recovery.models import Attempt, AttemptState, Recovery, RecoveryState
from recovery.ports import Clock, Cooldowns, Directive, Done, Store, Strategy, Wait
from recovery.registry import Registry
from recovery.watch.sight import blindness

RESEND_AFTER = timedelta(seconds=10)
"""How long, at most, a strategy task may lie in its queue before it is sent again; a second copy finds the lease taken and does nothing."""
RESEND_SOONEST = timedelta(seconds=2)
"""How long at least, however short the lease."""

MOMENT = 0.001
"""Seconds that a cooldown lock is taken to last whose end came while it was asked for."""


class Coordinator:
    """Decides and records the next step of a recovery.

    Args:
        store: where recoveries live; the authority.
        cooldowns: locks that keep a strategy off a service.
        strategies: every strategy there is.
        fleet: returns the configuration in force.
        clock: returns the current time.
        sight: says why the platform is blind, if it is.
    """

    def __init__(
        self,
        store: Store,
        cooldowns: Cooldowns,
        strategies: Registry[Strategy],
        fleet: Callable[[], Fleet],
        clock: Clock,
        sight: Sight = blindness,
    ) -> None:
        self._store = store
        self._cooldowns = cooldowns
        self._locks = Locks(cooldowns)
        self._losses = Losses(store, strategies, fleet)
        self._strategies = strategies
        self._fleet = fleet
        self._clock = clock
        self._sight = sight

    def advance(self, recovery_id: str) -> Directive:
        """Make at most one transition of a recovery and return what to do next.

        Raises `RecoveryNotFound` for an unknown id and `StoreUnavailable` when the facts cannot be had: nothing was decided
        then, and the tick comes back to it.
        """
        with self._store.together():
            recovery = self._store.recovery(recovery_id)
            if recovery is None:
                raise RecoveryNotFound(f"no recovery has the id {recovery_id}", recovery_id=recovery_id)
            if not recovery.state.is_open:
                return Done(recovery.id, recovery.outcome)
            attempts = self._store.attempts(recovery.id)
        now = self._clock()
        move = self._next(recovery, attempts, now)
        if move is None:
            return Wait(recovery.id, recovery.due_at or now)
        return self._commit(recovery, move, now)

    def _commit(self, before: Recovery, move: Move, now: datetime) -> Directive:
        try:
            stored = self._write(before, move, now)
        except Exception:
            with suppress(StoreUnavailable):  # then nobody knows whether it was written, and the next advance finds its own lock
                self._give_back(before, move)
            raise
        if stored is not None:
            tell(move.events, move.decisions)
            return move.directive
        self._give_back(before, move)
        return Wait(before.id, now)

    def _write(self, before: Recovery, move: Move, now: datetime) -> Recovery | None:
        return self._store.transition(
            before,
            move.after,
            attempt=move.attempt,
            decisions=move.decisions,
            events=move.events,
            mitigation=move.mitigation,
            ended=move.ended,
            approval=move.approval,
            basis=move.basis,
            quota=move.quota,
            now=now,
        )

    def _next(self, recovery: Recovery, attempts: list[Attempt], now: datetime) -> Move | None:
        current = attempts[-1] if attempts else None
        if current is None or current.state in {AttemptState.FINISHED, AttemptState.SKIPPED}:
            left = self._losses.not_undone(recovery, current, now)  # first: a decision may take a lock, and what fails then would keep it
            move = self._decide(recovery, attempts, now)
            return replace(move, mitigation=left) if left else move
        if current.state is AttemptState.QUEUED:
            return self._resend(recovery, current, now)
        return self._watch(recovery, current, now)

    def _decide(self, recovery: Recovery, attempts: list[Attempt], now: datetime) -> Move:
        """Nothing is running: finish, or choose what runs next."""
        fleet = self._fleet()
        if recovery.service not in fleet.services:
            return moves.cancel(recovery, None, f"{recovery.service} is no longer declared", now, timedelta())
        facts = self._gather(recovery, now)
        last = attempts[-1] if attempts else None
        if last and last.outcome in DONE_WELL:
            known = last.strategy in self._strategies
            holds_for = self._strategies[last.strategy].mitigates_for(facts.service) if known else None
            return moves.succeed(facts, last, holds_for, sickness(self._store, facts) if holds_for is not None else "")
        if recovery.cancel_requested:
            self._locks.free_unwanted(facts, None)
            return self._cancelled(recovery, last, now)
        judged, judgement = self._judge(facts)
        try:
            return moves.follow(judged, judgement, now + resend_after(fleet))
        except Exception:
            if judgement.planned:
                self._locks.free(recovery, judgement.planned.strategy, len(judged.tried) + 1)
            raise

    def _gather(self, recovery: Recovery, now: datetime) -> Facts:
        return gather(self._store, self._cooldowns, self._fleet(), recovery, now, frozenset(self._strategies), self._sight)

    def _judge(self, facts: Facts) -> tuple[Facts, Judgement]:
        """Judge, and take the cooldown lock of what may run. A lock that somebody else took meanwhile is one more fact."""
        while True:
            judgement = judge(facts)
            left = self._locks.take(facts, judgement.planned) if judgement.planned else None
            if left is None:
                self._locks.free_unwanted(facts, judgement.planned)
                return facts, judgement
            assert judgement.planned is not None
            facts = replace(facts, locks={**facts.locks, judgement.planned.strategy: max(left, MOMENT)})

    def _give_back(self, before: Recovery, move: Move) -> None:
        """Free the lock of an attempt that could not begin, unless whoever was faster (or this very transaction) began the same one."""
        if move.attempt is None or move.attempt.number <= before.attempt:
            return
        recovery = self._store.recovery(before.id)
        if recovery is not None and recovery.attempt < move.attempt.number:
            self._locks.free(recovery, move.attempt.strategy, move.attempt.number)

    def _resend(self, recovery: Recovery, current: Attempt, now: datetime) -> Move | None:
        """The attempt was sent and nobody took it up yet."""
        if recovery.cancel_requested:
            self._locks.free(recovery, current.strategy, current.number)
            return self._cancelled(recovery, current, now)
        if recovery.due_at and now < recovery.due_at and not ahead(recovery.due_at - RESEND_AFTER, now):
            return None
        taken_up = self._losses.live_lease(recovery, now)
        if taken_up:  # a message sent now would find the lease taken, and the next one would go later than it runs out
            return moves.wait(recovery, taken_up.until)
        gone = self._losses.gone(current)
        if gone:
            return self._losses.park(recovery, current, now, gone)
        withdrawn = self._withdraw(recovery, current, now)
        return withdrawn or moves.send(recovery, current, now + resend_after(self._fleet()))

    def again(self, left: Recovery) -> moves.Move:
        """Return what would be done now about a recovery that was left alone; nothing is written, and no lock is taken.

        Raises `StoreUnavailable` when the facts cannot be had.
        """
        now = self._clock()
        anew = replace(left, state=RecoveryState.PENDING, outcome=None, due_at=now, finished_at=None, quiet_until=None)
        facts = self._gather(anew, now)
        return moves.follow(facts, judge(facts), now)

    def objects(self, recovery: Recovery) -> bool:
        """Say whether a guard objects by now to an attempt that was decided on a while ago and that nobody has begun.

        Raises `StoreUnavailable` when the facts cannot be had.
        """
        return object_to_service(self._gather(replace(recovery, state=RecoveryState.PENDING), self._clock())) is not None

    def _withdraw(self, recovery: Recovery, current: Attempt, now: datetime) -> Move | None:
        """Take back an attempt that nobody began, if by now a guard objects: the service may be well, or a window may have begun."""
        facts = self._gather(replace(recovery, state=RecoveryState.PENDING), now)
        verdict = object_to_service(facts)
        if verdict is None:
            return None
        self._locks.free(recovery, current.strategy, current.number)
        skipped = replace(current, state=AttemptState.SKIPPED, finished_at=now, reason=verdict.reason)
        before = [attempt for attempt in facts.past if (attempt.recovery_id, attempt.number) != (current.recovery_id, current.number)]
        judged = replace(facts, past=[*before, skipped])
        return replace(moves.follow(judged, Judgement((verdict.decision(judged),), verdict=verdict), now), attempt=skipped)

    def _watch(self, recovery: Recovery, current: Attempt, now: datetime) -> Move | None:
        """A worker has the attempt: leave it alone while its lease lives, hand it to another one afterwards."""
        lease = self._losses.live_lease(recovery, now)
        if lease:
            return moves.wait(recovery, lease.until) if recovery.due_at is None or recovery.due_at <= now else None
        gone = self._losses.gone(current)
        if not gone and current.runs < self._fleet().platform.max_runs:
            return moves.send(recovery, current, now + resend_after(self._fleet()))
        lost = "once" if current.runs == 1 else f"{current.runs} times"
        return self._losses.park(recovery, current, now, gone or f"{current.strategy} lost its worker {lost}")

    def _cancelled(self, recovery: Recovery, current: Attempt | None, now: datetime) -> Move:
        quiet = timedelta(seconds=self._fleet().platform.retry_failed_after)
        return moves.cancel(recovery, current, recovery.reason or "cancelled by an operator", now, quiet)


def resend_after(fleet: Fleet) -> timedelta:
    """Return how long a strategy task may lie in its queue: as long as a lost worker is waited for, within bounds."""
    return min(RESEND_AFTER, max(RESEND_SOONEST, timedelta(seconds=fleet.platform.lease)))

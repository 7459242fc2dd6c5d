"""Looks after attempts whose workers are lost: who still has one, when nobody can finish it, and what it may have left in place."""

from collections.abc import Callable
from datetime import datetime, timedelta

from recovery.clocks import still_runs
from recovery.config.fleet import Fleet
from recovery.engine import moves
from recovery.engine.moves import Move
from recovery.engine.rollback import ROLLBACK_AT, left_undone
from recovery.models import Action, Attempt, Lease, Mitigation, Outcome, Recovery, RecoveryState, StepState
from recovery.ports import Store, Strategy
from recovery.registry import Registry

DONE_WELL = frozenset({Outcome.RESOLVED, Outcome.MITIGATED, Outcome.UNKNOWN})
"""How an attempt ends that leaves in place what it should."""


class Losses:
    """What the coordinator asks about an attempt before it sends it again, gives it up, or goes on to the next one.

    Args:
        store: where leases and journals are.
        strategies: every strategy there is.
        fleet: returns the configuration in force.
    """

    def __init__(self, store: Store, strategies: Registry[Strategy], fleet: Callable[[], Fleet]) -> None:
        self._store = store
        self._strategies = strategies
        self._fleet = fleet

    def live_lease(self, recovery: Recovery, now: datetime) -> Lease | None:
        """Return the claim of whoever is at work for this recovery, or was until a moment ago."""
        lease = self._store.lease_of(recovery.service)
        length = timedelta(seconds=self._fleet().platform.lease)
        mine = lease is not None and lease.recovery_id == recovery.id and still_runs(lease.until - length, lease.until, now)
        return lease if mine else None

    def gone(self, current: Attempt) -> str | None:
        """Return why no worker can take the attempt up any more, None if one can: the configuration may have changed meanwhile."""
        if current.service not in self._fleet().services:
            return f"{current.service} is no longer declared"
        return None if current.strategy in self._strategies else f"strategy '{current.strategy}' is no longer installed"

    def park(self, recovery: Recovery, current: Attempt, now: datetime, reason: str) -> Move | None:
        """Give an attempt up that nobody can finish; the next fence locks out any worker that was only frozen."""
        if self._store.acquire_lease(recovery.service, recovery.id, "coordinator", now, now) is None:
            return None
        stays = left_undone(self._store.steps(recovery.id, current.number))
        return moves.park(recovery, current, now, reason, stays, self._left_behind(current, now))

    def not_undone(self, recovery: Recovery, ended: Attempt | None, now: datetime) -> Mitigation | None:
        """Return what stays of an attempt that has just ended, because not all of it could be undone."""
        if ended is None or ended.outcome in DONE_WELL or recovery.state is not RecoveryState.IN_PROGRESS:
            return None
        rows = self._store.steps(ended.recovery_id, ended.number)
        failed = any(row.position == ROLLBACK_AT and row.state is StepState.FAILED for row in rows)
        return self._left_behind(ended, now) if failed else None

    def _left_behind(self, lost: Attempt, now: datetime) -> Mitigation | None:
        """Return what an attempt may have put in place, so that it is taken away once the service is well."""
        service = self._fleet().services.get(lost.service)
        if service is None or lost.strategy not in self._strategies or lost.action is Action.REVERT:
            return None
        holds = self._strategies[lost.strategy].mitigates_for(service)
        if holds is None or not self._store.steps(lost.recovery_id, lost.number):
            return None
        return Mitigation(lost.service, lost.strategy, lost.recovery_id, now, now + timedelta(seconds=holds))

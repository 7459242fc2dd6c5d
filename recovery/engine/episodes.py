"""Keeps one sickness one recovery: what was left alone stays so, without a new row, until the service was well or the answer changes.

Without it, a service that nobody may touch (`observe`, `managed = false`, at its cap) would open a recovery each `retry_failed_after`.
"""

import re
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.engine.coordinator import Coordinator
from recovery.engine.moves import Move
from recovery.models import Recovery, ServiceState, Status
from recovery.ports import Store

AHEAD = timedelta(seconds=5)
"""How long before the end of a quiet it is looked at again: a few ticks may be lost."""
AT_ONCE = 50
"""Of them per tick; the others open a recovery with their next report."""
SICK = frozenset({Status.UNHEALTHY, Status.DEGRADED})
QUESTION = "approval"
"""The guard whose question was not answered: it is asked again."""

_NUMBERS = re.compile(r"[\d.:]+")


def let_lie(store: Store, coordinator: Coordinator, fleet: Fleet, now: datetime) -> None:
    """Prolong the quiet of recoveries that would be left alone again, for the same reason and by the same configuration.

    The decisions count up as repeated. A new recovery is opened by the next report after the service was well in between, or
    nobody complained for `retry_failed_after`, or the answer has changed.

    Args:
        store: where they are.
        coordinator: judges them again.
        fleet: the configuration in force.
        now: the time.
    """
    left = store.quiet_ending(now, now + AHEAD, AT_ONCE)
    states = store.service_states() if left else {}
    for row in left:
        if row.config_version != fleet.version or row.service not in fleet.services:
            continue
        if not _lasts(row, states.get(row.service), now - timedelta(seconds=fleet.platform.retry_failed_after)):
            continue
        move = coordinator.again(row)
        if _is_alike(row, move) and move.after.quiet_until is not None:
            store.prolong(row, move.after.quiet_until, move.decisions)


def _lasts(row: Recovery, state: ServiceState | None, since: datetime) -> bool:
    """Say whether the checks have seen the service sick all the while, or somebody has reported the failure again since."""
    if state is not None and state.status in SICK and state.since is not None and state.since <= row.created_at:
        return True
    ended, newest = row.finished_at, row.last_failure_at
    return ended is not None and newest is not None and newest > max(ended, since)


def _is_alike(row: Recovery, move: Move) -> bool:
    if any(decision.guard == QUESTION for decision in move.decisions):
        return False
    return move.after.state is row.state and _NUMBERS.sub("#", move.after.reason) == _NUMBERS.sub("#", row.reason)

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

AHEAD, EARLIEST = 0.5, 60.0
"""Part of `retry_failed_after` that is left when a quiet is looked at again, and the most seconds: a crowd takes its time."""
LOOKED_AT, AT_ONCE = 500, 50
"""How many are looked at per tick, the first to end first, and how many of them are judged."""
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
    pause = fleet.platform.retry_failed_after
    left = store.quiet_ending(now, now + timedelta(seconds=min(AHEAD * pause, EARLIEST)), LOOKED_AT)
    states = store.service_states() if left else {}
    known = [row for row in left if row.config_version == fleet.version and row.service in fleet.services]
    lasting = [row for row in known if _lasts(row, states.get(row.service), now - timedelta(seconds=pause))]
    for row in lasting[:AT_ONCE]:
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

"""Three bugs to be planted on purpose: a campaign that does not find them is worth nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from recovery.engine.coordinator import Coordinator
from recovery.engine.moves import Move
from recovery.models import Lease, Recovery, Step, StepState
from recovery.ports import Directive, Execute, Wait
from recovery.store.sql import SqlStore, journal
from tests.torture.hooks import swap

COMMIT_TAKES = 0.3
"""Seconds between the message and the commit it belongs to: a busy database."""


@dataclass(frozen=True, slots=True)
class Plant:
    """One bug."""

    put: Callable[[], None]
    """Plant it in this process."""
    caught_as: str
    """The kind of violation that it must be found by."""


def no_fencing() -> None:
    """Take every write whatever its fence, and let the guard never object."""

    def renew(_store: SqlStore, lease: Lease, until: datetime) -> Lease:
        return Lease(lease.service, lease.recovery_id, lease.holder, lease.fence, until)

    swap(journal, "require", lambda _connection, _lease: None)
    swap(SqlStore, "holds", lambda _store, _lease: True)
    swap(SqlStore, "renew_lease", renew)


def no_journal() -> None:
    """Write no row before a side effect: a successor does not know that it was begun."""
    write = SqlStore.journal

    def forget(store: SqlStore, lease: Lease, step: Step) -> None:
        if step.state is not StepState.STARTED:
            write(store, lease, step)

    swap(SqlStore, "journal", forget)


def early_message() -> None:
    """Send the strategy's message before the transition that it belongs to is committed."""
    commit = Coordinator._commit

    def hurry(coordinator: Coordinator, before: Recovery, move: Move, now: datetime) -> Directive:
        from workers.dispatch import obey

        if not isinstance(move.directive, Execute):
            return commit(coordinator, before, move, now)
        obey(move.directive)
        time.sleep(COMMIT_TAKES)
        commit(coordinator, before, move, now)
        return Wait(before.id, now)

    swap(Coordinator, "_commit", hurry)


PLANTS = {
    "no-fencing": Plant(no_fencing, "stale"),
    "no-journal": Plant(no_journal, "twice"),
    "early-message": Plant(early_message, "early"),
}

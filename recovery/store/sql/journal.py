"""What the holder of a lease writes: running attempts and their steps. Each write checks the fence in its own transaction."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, select, update

from recovery.models import Attempt, AttemptState, Event, Lease, Recovery, Step
from recovery.store.rules import attempt_over, may_run
from recovery.store.schema import IS_OPEN, attempts, leases, recoveries, steps
from recovery.store.sql.ledger import note
from recovery.store.sql.room import AnyConnection, Room, changed, columns_of, load_all, require, values_of

_RECOVERY = select(*columns_of(Recovery, recoveries)).where(recoveries.c.id == bindparam("of")).with_for_update()
_ATTEMPT = select(*columns_of(Attempt, attempts)).where(attempts.c.recovery_id == bindparam("of"), attempts.c.number == bindparam("which"))
_ATTEMPTS = select(*columns_of(Attempt, attempts)).where(attempts.c.recovery_id == bindparam("of")).order_by(attempts.c.number)
_ATTEMPTS_OF = (
    select(*columns_of(Attempt, attempts))
    .where(attempts.c.service == bindparam("of"), attempts.c.created_at >= bindparam("since"))
    .order_by(attempts.c.created_at, attempts.c.recovery_id, attempts.c.number)
)
_STEPS = select(*columns_of(Step, steps)).where(steps.c.recovery_id == bindparam("of")).order_by(steps.c.attempt, steps.c.position)
_STEPS_OF = _STEPS.where(steps.c.attempt == bindparam("which"))
_WAKE = (
    update(recoveries)
    .where(recoveries.c.id == bindparam("of"), IS_OPEN)
    .values(due_at=bindparam("when"), touched_at=bindparam("now"), version=recoveries.c.version + 1)
)

_TOUCH = (
    update(recoveries)
    .where(recoveries.c.id == bindparam("of"), IS_OPEN)
    .values(touched_at=bindparam("now"), version=recoveries.c.version + 1)
)
_UNCOUNT = (
    update(attempts)
    .where(
        attempts.c.recovery_id == bindparam("of"),
        attempts.c.number == bindparam("which"),
        attempts.c.fence == bindparam("mine"),
        attempts.c.state == AttemptState.RUNNING,
    )
    .values(runs=attempts.c.runs - 1)
)
_GIVE_UP = update(leases).where(leases.c.service == bindparam("of")).values(holder=None)


class SqlJournal(Room):
    """The attempts and steps of `ports.RecoveryStore`."""

    def attempts(self, recovery_id: str) -> list[Attempt]:
        """Return the attempts of a recovery, in order."""
        with self._reading() as connection:
            return load_all(Attempt, connection.execute(_ATTEMPTS, {"of": recovery_id}))

    def attempts_of(self, service: str, since: datetime) -> list[Attempt]:
        """Return every attempt on `service` created at or after `since`, oldest first."""
        with self._reading() as connection:
            return load_all(Attempt, connection.execute(_ATTEMPTS_OF, {"of": service, "since": since}))

    def steps(self, recovery_id: str, attempt: int | None = None) -> list[Step]:
        """Return the journal of a recovery (or of one attempt), in order."""
        query, which = (_STEPS, {}) if attempt is None else (_STEPS_OF, {"which": attempt})
        with self._reading() as connection:
            return load_all(Step, connection.execute(query, {"of": recovery_id, **which}))

    def begin_attempt(self, lease: Lease, number: int, now: datetime) -> Attempt:
        """Mark the attempt as running under `lease`; raises `LeaseLost`, also when there is nothing left to run."""
        with self._writing() as connection:
            require(connection, lease)
            recovery = connection.execute(_RECOVERY, {"of": lease.recovery_id}).first(Recovery)
            attempt = connection.execute(_ATTEMPT, {"of": lease.recovery_id, "which": number}).first(Attempt)
            if recovery is None or attempt is None or not may_run(recovery, attempt):
                raise attempt_over(lease, number)
            running = replace(
                attempt, state=AttemptState.RUNNING, started_at=attempt.started_at or now, fence=lease.fence, runs=attempt.runs + 1
            )
            connection.execute(self._upsert(attempts), values_of(running))
            self._wake(connection, lease.recovery_id, lease.until, now)
            return running

    def journal(self, lease: Lease, step: Step) -> None:
        """Insert or replace one step's row; raises `LeaseLost` if `lease` is not the newest."""
        with self._writing() as connection:
            require(connection, lease)
            connection.execute(self._upsert(steps), values_of(step))

    def finish_attempt(self, lease: Lease, attempt: Attempt, events: Sequence[Event], now: datetime) -> None:
        """Store a finished attempt and make its recovery due now; raises `LeaseLost` if `lease` is not the newest."""
        with self._writing() as connection:
            require(connection, lease)
            self._wake(connection, attempt.recovery_id, now, now)
            connection.execute(self._upsert(attempts), values_of(attempt))
            note(connection, (), events)

    def hand_back(self, lease: Lease, number: int, now: datetime) -> None:
        """Give a claim up in the middle of an attempt, by a holder that lives; raises `LeaseLost` if `lease` is not the newest."""
        with self._writing() as connection:
            require(connection, lease)
            if changed(connection, _UNCOUNT, of=lease.recovery_id, which=number, mine=lease.fence):
                connection.execute(_TOUCH, {"of": lease.recovery_id, "now": now})
            connection.execute(_GIVE_UP, {"of": lease.service})

    @staticmethod
    def _wake(connection: AnyConnection, recovery_id: str, when: datetime, now: datetime) -> None:
        """Make an open recovery due; its version rises, so that nobody decides on what was read before."""
        connection.execute(_WAKE, {"of": recovery_id, "when": when, "now": now})

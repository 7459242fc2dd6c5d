"""Recoveries and the reports merged into them; one is open per service, which a partial unique index enforces."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from recovery.errors import RecoveryError
from recovery.models import Attempt, Decision, Event, Failure, Mitigation, Recovery, Severity
from recovery.ports import Accepted, Intake
from recovery.store.rules import PREFIX_LENGTH, begins, later, merge_decision, merged, stored
from recovery.store.schema import IS_CLOSED, IS_OPEN, attempts, failures, recoveries
from recovery.store.sql.ledger import count, note
from recovery.store.sql.mitigations import lift, put
from recovery.store.sql.room import Room, columns_of, dialect_insert, load, load_all, values_of

_ROW = columns_of(Recovery, recoveries)
_RECOVERY = select(*_ROW)
_URGENCY = (case({severity: severity.rank for severity in Severity}, value=recoveries.c.severity), recoveries.c.created_at, recoveries.c.id)
_BY_ID = _RECOVERY.where(recoveries.c.id == bindparam("of"))
_BY_PREFIX = select(recoveries.c.id).where(func.substr(recoveries.c.id, 1, bindparam("length")) == bindparam("prefix")).limit(2)
_OPEN_OF = _RECOVERY.where(recoveries.c.service == bindparam("of"), IS_OPEN)
_OPEN_OF_LOCKED = _OPEN_OF.with_for_update()
_BY_ID_LOCKED = _BY_ID.with_for_update()
_OPEN_ALL = _RECOVERY.where(IS_OPEN).order_by(*_URGENCY)
_DUE = (
    select(recoveries.c.id)
    .where(IS_OPEN, recoveries.c.due_at <= bindparam("now"))
    .order_by(recoveries.c.due_at, *_URGENCY)
    .limit(bindparam("how_many"))
)
_QUIET_FOR = (
    _RECOVERY.where(
        recoveries.c.service == bindparam("of"),
        recoveries.c.fingerprint == bindparam("alike"),
        recoveries.c.quiet_until > bindparam("now"),
        IS_CLOSED,
    )
    .order_by(recoveries.c.created_at.desc(), recoveries.c.id.desc())
    .limit(1)
    .with_for_update()
)
_BUSY = select(recoveries.c.service, recoveries.c.fingerprint, recoveries.c.quiet_until, recoveries.c.state).where(
    or_(IS_OPEN, recoveries.c.quiet_until > bindparam("now"))
)
_OWNER = select(failures.c.recovery_id).where(failures.c.failure_id == bindparam("of"))
_LATEST_FAILURE = select(failures).where(failures.c.recovery_id == bindparam("of")).order_by(failures.c.id.desc()).limit(1)
_END_QUIET = (
    update(recoveries).where(recoveries.c.service == bindparam("of"), recoveries.c.quiet_until.is_not(None)).values(quiet_until=None)
)
_SET = update(recoveries).where(recoveries.c.id == bindparam("of"))
_CANCEL = _SET.where(IS_OPEN).values(cancel_requested=True, reason=bindparam("why"), due_at=bindparam("now")).returning(*_ROW)


@cache
def _insert_open(dialect: str) -> Any:
    """Insert a recovery unless one is open for its service."""
    return (
        dialect_insert(dialect, recoveries)
        .on_conflict_do_nothing(index_elements=["service"], index_where=IS_OPEN)
        .returning(recoveries.c.id)
    )


@cache
def _insert_new(dialect: str) -> Any:
    """Insert a failure unless its id is known."""
    return dialect_insert(dialect, failures).on_conflict_do_nothing(index_elements=["failure_id"]).returning(failures.c.id)


class _OutrunError(Exception):
    """Another transaction committed the same key in between; the whole transaction starts again."""


class SqlRecoveries(Room):
    """Implements the part of `ports.RecoveryStore` that decides what a recovery is."""

    def open_recovery(
        self, recovery: Recovery, failure: Failure | None, decisions: Sequence[Decision], events: Sequence[Event]
    ) -> Accepted:
        """Insert `recovery`, or merge `failure` into the one that is open for its service (or quiet after its end)."""
        while True:
            try:
                with self._writing() as connection:
                    return self._open(connection, recovery, failure, decisions, events)
            except _OutrunError:
                continue

    def _open(
        self,
        connection: Connection,
        recovery: Recovery,
        failure: Failure | None,
        decisions: Sequence[Decision],
        events: Sequence[Event],
    ) -> Accepted:
        known = connection.execute(_OWNER, {"of": failure.id}).scalar() if failure else None
        if known is not None:
            return Accepted(Intake.DUPLICATE, _one(connection, _BY_ID, of=known) or recovery)
        current = _one(connection, _OPEN_OF_LOCKED, of=recovery.service)
        if current is None and failure is not None:
            quiet = {"of": recovery.service, "alike": failure.fingerprint, "now": recovery.created_at}
            current = _one(connection, _QUIET_FOR, **quiet)
        if current is not None:
            return Accepted(Intake.MERGED, self._merge(connection, current, failure, recovery.created_at) if failure else current)
        self._insert(connection, recovery)
        if failure is not None:
            self._add_failure(connection, recovery.id, failure)
        note(connection, decisions, events)
        return Accepted(Intake.OPENED, recovery)

    def _insert(self, connection: Connection, recovery: Recovery) -> None:
        try:
            inserted = connection.execute(_insert_open(connection.dialect.name), values_of(recovery)).scalar()
        except IntegrityError as error:
            raise RecoveryError(f"recovery {recovery.id} exists already", recovery_id=recovery.id) from error
        if inserted is None:
            raise _OutrunError

    def _merge(self, connection: Connection, current: Recovery, failure: Failure, now: datetime) -> Recovery:
        self._add_failure(connection, current.id, failure)
        row = merged(current, failure)
        kept = {"failures": row.failures, "last_failure_at": row.last_failure_at, "severity": row.severity}
        connection.execute(_SET, {"of": current.id, **kept})
        count(connection, merge_decision(current, failure, now))
        return row

    def _add_failure(self, connection: Connection, recovery_id: str, failure: Failure) -> None:
        row = {**failure.model_dump(exclude={"id"}), "failure_id": failure.id, "recovery_id": recovery_id}
        if connection.execute(_insert_new(connection.dialect.name), row).scalar() is None:
            raise _OutrunError

    def recovery(self, recovery_id: str) -> Recovery | None:
        """Return one recovery, by full id or by a unique prefix of at least 6 characters."""
        with self._reading() as connection:
            exact = _one(connection, _BY_ID, of=recovery_id)
            if exact is not None or len(recovery_id) < PREFIX_LENGTH:
                return exact
            matches = connection.execute(_BY_PREFIX, {"length": len(recovery_id), "prefix": recovery_id}).scalars().all()
            return _one(connection, _BY_ID, of=matches[0]) if len(matches) == 1 else None

    def open_recovery_of(self, service: str) -> Recovery | None:
        """Return the open recovery of `service`, if any."""
        with self._reading() as connection:
            return _one(connection, _OPEN_OF, of=service)

    def open_recoveries(self) -> list[Recovery]:
        """Return all open recoveries, most severe and oldest first."""
        with self._reading() as connection:
            return load_all(Recovery, connection.execute(_OPEN_ALL))

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return ids of open recoveries whose `due_at` has come, those that wait longest first."""
        with self._reading() as connection:
            return list(connection.execute(_DUE, {"now": now, "how_many": limit}).scalars())

    def latest_failure(self, recovery_id: str) -> Failure | None:
        """Return the newest failure that was merged into a recovery."""
        with self._reading() as connection:
            row = connection.execute(_LATEST_FAILURE, {"of": recovery_id}).mappings().first()
        return failure_of(row) if row is not None else None

    def transition(
        self,
        before: Recovery,
        after: Recovery,
        *,
        attempt: Attempt | None = None,
        decisions: Sequence[Decision] = (),
        events: Sequence[Event] = (),
        mitigation: Mitigation | None = None,
        ended: Mitigation | None = None,
    ) -> Recovery | None:
        """Replace `before` by `after` if the row still has `before.version`, with all the rows that belong to it."""
        with self._writing() as connection:
            row = _one(connection, _BY_ID_LOCKED, of=before.id)
            if row is None or row.version != before.version:
                return None
            result = stored(row, before, after)
            connection.execute(_SET, {"of": before.id, **values_of(result)})
            if attempt is not None:
                connection.execute(self._upsert(attempts), values_of(attempt))
            if begins(before, after):
                connection.execute(_END_QUIET, {"of": before.service})
            if ended is not None:
                lift(connection, ended)
            if mitigation is not None:
                put(connection, mitigation)
            note(connection, decisions, events)
            return result

    def request_cancel(self, recovery_id: str, reason: str, now: datetime) -> Recovery | None:
        """Mark an open recovery as to be cancelled and make it due; None if it is closed or unknown."""
        with self._writing() as connection:
            return _one(connection, _CANCEL, of=recovery_id, why=reason, now=now)

    def busy(self, now: datetime) -> dict[str, datetime | None]:
        """Return what needs no new report: services with an open recovery (None), and fingerprints that are quiet after `now`."""
        found: dict[str, datetime | None] = {}
        with self._reading() as connection:
            rows = connection.execute(_BUSY, {"now": now}).all()
        for service, fingerprint, quiet_until, state in rows:
            if state.is_open:
                found[service] = None
            else:
                found[fingerprint] = later(found.get(fingerprint), quiet_until)
        return found


def failure_of(row: Any) -> Failure:
    """Return the failure in a row of `failures`."""
    return Failure.model_validate({**{name: row[name] for name in Failure.model_fields}, "id": row["failure_id"]})


def _one(connection: Connection, query: Select[Any] | Any, **values: Any) -> Recovery | None:
    row = connection.execute(query, values).first()
    return load(Recovery, row) if row is not None else None

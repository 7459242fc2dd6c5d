"""Reports and what they open or merge into; one recovery is open per service, which a partial unique index enforces."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, case, or_, select, update
from sqlalchemy.exc import IntegrityError

from recovery.clocks import still_runs
from recovery.errors import RecoveryError
from recovery.models import Decision, Event, Failure, Recovery, Severity
from recovery.ports import Accepted, Intake, Report
from recovery.store.direct import DirectConnection
from recovery.store.rules import absorbs, later, merge_decision, quiet_from
from recovery.store.schema import IS_CLOSED, IS_OPEN, failures, recoveries
from recovery.store.sql.batch import OutrunError, failure_row, take_in
from recovery.store.sql.ledger import count, note
from recovery.store.sql.room import Room, columns_of, dialect_insert, load_all, values_of

BATCH_TRIES = 3
"""How often a batch starts again because another transaction committed one of its keys in between."""

_ROW = columns_of(Recovery, recoveries)
_RANK = case({str(severity): severity.rank for severity in Severity}, value=recoveries.c.severity)
_SEEN = bindparam("seen", type_=recoveries.c.last_failure_at.type)
_MERGE = update(recoveries).values(
    failures=recoveries.c.failures + 1,
    last_failure_at=case((recoveries.c.last_failure_at > _SEEN, recoveries.c.last_failure_at), else_=_SEEN),
    severity=case(
        (bindparam("rank") >= _RANK, recoveries.c.severity),
        else_=bindparam("severe", type_=recoveries.c.severity.type),
    ),
)
_MERGE_OPEN = _MERGE.where(recoveries.c.service == bindparam("of"), IS_OPEN).returning(*_ROW)
_MERGE_QUIET = _MERGE.where(recoveries.c.id == bindparam("of"), IS_CLOSED).returning(*_ROW)
_OPEN_OF = select(*_ROW).where(recoveries.c.service == bindparam("of"), IS_OPEN)
_QUIET_FOR = (
    select(*_ROW)
    .where(
        recoveries.c.service == bindparam("of"),
        recoveries.c.fingerprint == bindparam("alike"),
        recoveries.c.quiet_until > bindparam("now"),
        IS_CLOSED,
    )
    .order_by(recoveries.c.created_at.desc(), recoveries.c.id.desc())
    .with_for_update()
)
_TIMES = (recoveries.c.created_at, recoveries.c.finished_at, recoveries.c.quiet_until)
_BUSY = select(recoveries.c.service, recoveries.c.fingerprint, recoveries.c.state, *_TIMES).where(
    or_(IS_OPEN, recoveries.c.quiet_until > bindparam("now"))
)
_OWNER = select(*_ROW).join(failures, failures.c.recovery_id == recoveries.c.id).where(failures.c.failure_id == bindparam("of"))
_FIELDS = tuple(Failure.model_fields)
_NOTHING_ELSE = {"__pydantic_extra__": None, "__pydantic_private__": None}
_FAILURE = tuple(failures.c["failure_id" if name == "id" else name] for name in _FIELDS)
_LATEST_FAILURE = select(*_FAILURE).where(failures.c.recovery_id == bindparam("of")).order_by(failures.c.id.desc()).limit(1)


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


class _KnownError(Exception):
    """The report was taken in before; whatever this transaction wrote for it is rolled back."""


class SqlIntake(Room):
    """The part of `ports.RecoveryStore` through which reports come in."""

    def open_recovery(
        self, recovery: Recovery, failure: Failure | None, decisions: Sequence[Decision], events: Sequence[Event]
    ) -> Accepted:
        """Insert `recovery`, or merge `failure` into the one that is open for its service (or quiet after its end)."""
        return self._settled(failure, lambda connection: self._open(connection, recovery, failure, decisions, events))

    def take_in(self, reports: Sequence[Report]) -> list[Accepted]:
        """Take a batch in, in one transaction: the same as `open_recovery` for each report in turn."""
        if len(reports) == 1:  # as on a quiet day: the shortest statements
            return [self._take_in_one(reports[0])]
        for tries_left in reversed(range(BATCH_TRIES)):
            try:
                with self._composing() as connection:
                    return take_in(connection, reports)
            except OutrunError:
                if not tries_left:
                    raise
        return []

    def _take_in_one(self, report: Report) -> Accepted:
        failure = report.failure

        def take_in_here(connection: DirectConnection) -> Accepted:
            row = self._merge(connection, failure, failure.service, report.at)
            if row is not None:
                return Accepted(Intake.MERGED, row)
            known = _one(connection, _OWNER, of=failure.id)
            if known is not None:
                return Accepted(Intake.DUPLICATE, known)
            recovery, events = report.opens()
            return self._begin(connection, recovery, failure, (), events)

        return self._settled(failure, take_in_here)

    def _settled(self, failure: Failure | None, settle: Callable[[DirectConnection], Accepted]) -> Accepted:
        """Settle what becomes of a report in one transaction, again if another one was faster; a known report writes nothing."""
        while True:
            try:
                with self._writing() as connection:
                    return settle(connection)
            except OutrunError:
                continue
            except _KnownError:
                known = self._duplicate(failure)
                if known is not None:  # else its recovery was pruned in this very moment
                    return known

    def latest_failure(self, recovery_id: str) -> Failure | None:
        """Return the newest failure that was merged into a recovery."""
        with self._reading() as connection:
            return connection.execute(_LATEST_FAILURE, {"of": recovery_id}).first(_failure)

    def busy(self, now: datetime) -> dict[str, datetime | None]:
        """Return what needs no new report: services with an open recovery (None), and fingerprints that are quiet after `now`."""
        found: dict[str, datetime | None] = {}
        with self._reading() as connection:
            rows = connection.execute(_BUSY, {"now": now}).all()
        for service, fingerprint, state, created_at, finished_at, quiet_until in rows:
            if state.is_open:
                found[service] = None
            elif still_runs(finished_at or created_at, quiet_until, now):
                found[fingerprint] = later(found.get(fingerprint), quiet_until)
        return found

    def _open(
        self,
        connection: DirectConnection,
        recovery: Recovery,
        failure: Failure | None,
        decisions: Sequence[Decision],
        events: Sequence[Event],
    ) -> Accepted:
        if failure is not None:
            row = self._merge(connection, failure, recovery.service, recovery.created_at)
        else:
            row = _one(connection, _OPEN_OF, of=recovery.service) if recovery.state.is_open else None
        if row is not None:
            return Accepted(Intake.MERGED, row)
        return self._begin(connection, recovery, failure, decisions, events)

    def _begin(
        self,
        connection: DirectConnection,
        recovery: Recovery,
        failure: Failure | None,
        decisions: Sequence[Decision],
        events: Sequence[Event],
    ) -> Accepted:
        self._insert(connection, recovery)
        if failure is not None:
            self._add_failure(connection, recovery.id, failure)
        note(connection, decisions, events)
        return Accepted(Intake.OPENED, recovery)

    def _insert(self, connection: DirectConnection, recovery: Recovery) -> None:
        row = {**values_of(recovery), "touched_at": recovery.created_at}
        try:
            inserted = connection.execute(_insert_open(connection.dialect.name), row).scalar()
        except IntegrityError as error:
            raise RecoveryError(f"recovery {recovery.id} exists already", recovery_id=recovery.id) from error
        if inserted is None:
            raise OutrunError

    def _merge(self, connection: DirectConnection, failure: Failure, service: str, now: datetime) -> Recovery | None:
        """Merge into the open recovery of `service`, else into one that is quiet; return it as it is then."""
        news = {"seen": failure.occurred_at, "rank": failure.severity.rank, "severe": failure.severity}
        row = _one(connection, _MERGE_OPEN, of=service, **news)
        if row is None:
            candidates = connection.execute(_QUIET_FOR, {"of": service, "alike": failure.fingerprint, "now": quiet_from(failure, now)})
            quiet = [found for found in load_all(Recovery, candidates) if absorbs(found, failure, now)]
            row = _one(connection, _MERGE_QUIET, of=quiet[0].id, **news) if quiet else None
        if row is not None:
            self._add_failure(connection, row.id, failure)
            count(connection, merge_decision(row, failure, now))
        return row

    def _add_failure(self, connection: DirectConnection, recovery_id: str, failure: Failure) -> None:
        if connection.execute(_insert_new(connection.dialect.name), failure_row(recovery_id, failure)).scalar() is None:
            raise _KnownError

    def _duplicate(self, failure: Failure | None) -> Accepted | None:
        """Return the answer to a report that is known, None if it is not."""
        with self._reading() as connection:
            owner = _one(connection, _OWNER, of=failure.id) if failure is not None else None
        return Accepted(Intake.DUPLICATE, owner) if owner is not None else None


def _failure(*values: Any) -> Failure:
    """Make it as its pickle would: it was validated when it came in."""
    failure = Failure.__new__(Failure)
    fields = dict(zip(_FIELDS, values, strict=True))
    failure.__setstate__({"__dict__": fields, "__pydantic_fields_set__": set(_FIELDS), **_NOTHING_ELSE})
    return failure


def failure_of(row: Any) -> Failure:
    """Return the failure in a row of `failures`."""
    return Failure.model_validate({**{name: row[name] for name in Failure.model_fields}, "id": row["failure_id"]})


def _one(connection: DirectConnection, query: Any, **values: Any) -> Recovery | None:
    return connection.execute(query, values).first(Recovery)

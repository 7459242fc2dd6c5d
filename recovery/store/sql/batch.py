"""A whole batch of reports in one transaction: looked up together, folded per recovery, written with one statement per table."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from recovery.models import Event, Failure, Recovery, Severity
from recovery.ports import Accepted, Intake, Report
from recovery.store.direct import DirectConnection
from recovery.store.rules import absorbs, later, merge_decision, quiet_from
from recovery.store.schema import IS_CLOSED, IS_OPEN, failures, recoveries
from recovery.store.sql.ledger import Merges, count_all, note
from recovery.store.sql.room import columns_of, insert_all, load_all, values_of

_ROW = columns_of(Recovery, recoveries)
_ALL_OF: Any = bindparam("of", expanding=True)
_KNOWN = select(failures.c.failure_id, failures.c.recovery_id).where(failures.c.failure_id.in_(_ALL_OF))
_OPEN = (
    select(*_ROW)
    .where(recoveries.c.service.in_(_ALL_OF), IS_OPEN)
    .order_by(recoveries.c.service)  # everybody locks in the same order, so nobody waits in a circle
    .with_for_update()
)
_QUIET = (
    select(*_ROW)
    .where(recoveries.c.service.in_(_ALL_OF), recoveries.c.quiet_until > bindparam("now"), IS_CLOSED)
    .order_by(recoveries.c.created_at.desc(), recoveries.c.id.desc())
    .with_for_update()
)
_BY_ID = select(*_ROW).where(recoveries.c.id.in_(_ALL_OF))
_MERGED = (
    update(recoveries)
    .where(recoveries.c.id == bindparam("of"))
    .values(failures=bindparam("reports"), last_failure_at=bindparam("seen"), severity=bindparam("severe"))
)


class OutrunError(Exception):
    """Another transaction committed the same key in between; the whole transaction starts again."""


@dataclass(slots=True)
class Tally:
    """What the reports of one batch make of one recovery."""

    row: Recovery
    events: Sequence[Event] | None = None
    """Of its opening; None: it was there before."""
    reports: list[Failure] = field(default_factory=list)
    merges: dict[str, Merges] = field(default_factory=dict)
    """By fingerprint."""
    last_failure_at: datetime | None = None
    severities: set[Severity] = field(default_factory=set)

    def merge(self, failure: Failure, now: datetime) -> None:
        """Add one more report."""
        self.reports.append(failure)
        self.severities.add(failure.severity)
        if self.last_failure_at is None or failure.occurred_at > self.last_failure_at:
            self.last_failure_at = failure.occurred_at
        if failure.fingerprint not in self.merges:
            self.merges[failure.fingerprint] = Merges(merge_decision(self.row, failure, now))
        merges = self.merges[failure.fingerprint]
        merges.times, merges.last_at = merges.times + 1, now

    def after(self) -> Recovery:
        """Return the recovery as the batch leaves it."""
        extra = len(self.reports) - (self.events is not None)
        if not extra:
            return self.row
        severity = min((self.row.severity, *self.severities), key=lambda severity: severity.rank)
        last = later(self.row.last_failure_at, self.last_failure_at)
        return replace(self.row, failures=self.row.failures + extra, last_failure_at=last, severity=severity)


class Batch:
    """Folds reports, in their order, into the recoveries that are open or quiet, or into new ones.

    Args:
        known: recovery ids by the failure ids that were taken in before.
        open_now: the open recovery of each service that has one.
        quiet: closed recoveries that may still absorb reports, newest first.
    """

    def __init__(self, known: dict[str, str], open_now: Sequence[Recovery], quiet: Sequence[Recovery]) -> None:
        self._owners = dict(known)
        self._open = {row.service: Tally(row) for row in open_now}
        self._quiet = [Tally(row) for row in quiet]
        self.tallies = {tally.row.id: tally for tally in (*self._open.values(), *self._quiet)}
        self.outcomes: list[tuple[Intake, str]] = []
        """What became of each report, and the id of its recovery."""

    def fold(self, report: Report) -> None:
        """Take one report in."""
        failure = report.failure
        owner = self._owners.get(failure.id)
        if owner is not None:
            self.outcomes.append((Intake.DUPLICATE, owner))
            return
        tally = self._open.get(failure.service) or self._absorbing(failure, report.at)
        if tally is not None:
            tally.merge(failure, report.at)
            self.outcomes.append((Intake.MERGED, tally.row.id))
        else:
            tally = self._begin(report)
            self.outcomes.append((Intake.OPENED, tally.row.id))
        self._owners[failure.id] = tally.row.id

    def _begin(self, report: Report) -> Tally:
        recovery, events = report.opens()
        tally = self.tallies[recovery.id] = self._open[recovery.service] = Tally(recovery, events, [report.failure])
        return tally

    def _absorbing(self, failure: Failure, now: datetime) -> Tally | None:
        return next((tally for tally in self._quiet if absorbs(tally.row, failure, now)), None)


def take_in(connection: Connection, reports: Sequence[Report]) -> list[Accepted]:
    """Fold the reports into the running transaction; raises `OutrunError` if somebody committed the same keys in between."""
    batch = _look_up(connection, reports)
    for report in reports:
        batch.fold(report)
    try:
        _write(connection, [tally for tally in batch.tallies.values() if tally.reports])
    except IntegrityError as error:
        raise OutrunError from error
    rows = {key: tally.after() for key, tally in batch.tallies.items()}
    elsewhere = {owner for _, owner in batch.outcomes} - rows.keys()
    if elsewhere:
        rows |= {row.id: row for row in load_all(Recovery, connection.execute(_BY_ID, {"of": sorted(elsewhere)}))}
    return [Accepted(intake, rows[owner]) for intake, owner in batch.outcomes]


def _look_up(connection: Connection, reports: Sequence[Report]) -> Batch:
    services = sorted({report.failure.service for report in reports})
    open_now = load_all(Recovery, connection.execute(_OPEN, {"of": services}))
    shut = sorted(set(services) - {row.service for row in open_now})
    now = min((quiet_from(report.failure, report.at) for report in reports), default=None)
    quiet = load_all(Recovery, connection.execute(_QUIET, {"of": shut, "now": now})) if shut else []
    known = connection.execute(_KNOWN, {"of": [report.failure.id for report in reports]})
    return Batch({row.failure_id: row.recovery_id for row in known}, open_now, quiet)


def _write(connection: Connection, tallies: Sequence[Tally]) -> None:
    fresh = [tally for tally in tallies if tally.events is not None]
    insert_all(connection, recoveries, [{**values_of(tally.after()), "touched_at": tally.row.created_at} for tally in fresh])
    driver = DirectConnection(connection.dialect, connection.connection.driver_connection)  # hundreds of rows: it is twice as fast
    insert_all(driver, failures, [failure_row(tally.row.id, failure) for tally in tallies for failure in tally.reports])
    merged = [tally.after() for tally in tallies if tally.events is None]
    if merged:
        news = [{"of": row.id, "reports": row.failures, "seen": row.last_failure_at, "severe": row.severity} for row in merged]
        connection.execute(_MERGED, news)
    count_all(connection, [merges for tally in tallies for merges in tally.merges.values()])
    note(connection, (), [event for tally in fresh for event in tally.events or ()])


def failure_row(recovery_id: str, failure: Failure) -> dict[str, Any]:
    """Return the columns of one report."""
    row = {**failure.__dict__, "failure_id": failure.id, "recovery_id": recovery_id}
    del row["id"]
    return row

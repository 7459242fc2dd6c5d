"""Reports and what they open or merge into, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recovery.errors import RecoveryError
from recovery.models import Decision, Event, Failure, Recovery
from recovery.ports import Accepted, Intake, Report
from recovery.store.memory.ledger import MemoryLedger
from recovery.store.rules import absorbs, is_quiet, later, merge_decision, merged


class MemoryIntake(MemoryLedger):
    """The part of `ports.RecoveryStore` through which reports come in."""

    def open_recovery(
        self, recovery: Recovery, failure: Failure | None, decisions: Sequence[Decision], events: Sequence[Event]
    ) -> Accepted:
        """Insert `recovery`, or merge `failure` into the one that is open for its service."""
        tables = self._tables
        with tables.lock:
            known = self._merge_known(failure, recovery.service, recovery.created_at) if failure is not None else None
            if known is not None:
                return known
            current = self._open_of(recovery.service)
            if current is not None and recovery.state.is_open:
                return Accepted(Intake.MERGED, current)
            if recovery.id in tables.recoveries:
                raise RecoveryError(f"recovery {recovery.id} exists already", recovery_id=recovery.id)
            tables.recoveries[recovery.id] = recovery
            tables.touched[recovery.id] = recovery.created_at
            if failure is not None:
                tables.failures[failure.id] = (recovery.id, failure)
            self._note(decisions, events)
            return Accepted(Intake.OPENED, recovery)

    def take_in(self, reports: Sequence[Report]) -> list[Accepted]:
        """Take a batch in, in one transaction: the same as `open_recovery` for each report in turn."""
        openings = [report.opens() for report in reports]  # all of them first: what raises must not leave half a batch
        with self._tables.lock:
            accepted = [
                self._merge_known(report.failure, recovery.service, report.at) or self.open_recovery(recovery, report.failure, (), events)
                for report, (recovery, events) in zip(reports, openings, strict=True)
            ]
            return [replace(one, recovery=self._tables.recoveries[one.recovery.id]) for one in accepted]

    def latest_failure(self, recovery_id: str) -> Failure | None:
        """Return the newest failure that was merged into a recovery."""
        with self._tables.lock:
            found = [failure for owner, failure in self._tables.failures.values() if owner == recovery_id]
        return found[-1] if found else None

    def busy(self, now: datetime) -> dict[str, datetime | None]:
        """Return what needs no new report: services with an open recovery (None), and fingerprints that are quiet after `now`."""
        found: dict[str, datetime | None] = {}
        with self._tables.lock:
            rows = list(self._tables.recoveries.values())
        for row in rows:
            if row.state.is_open:
                found[row.service] = None
            elif is_quiet(row, now):
                found[row.fingerprint] = later(found.get(row.fingerprint), row.quiet_until)
        return found

    def _open_of(self, service: str) -> Recovery | None:
        return next((row for row in self._tables.recoveries.values() if row.service == service and row.state.is_open), None)

    def _merge_known(self, failure: Failure, service: str, now: datetime) -> Accepted | None:
        """Merge into what is open or quiet, unless the report is known; None if it is new and nothing takes it in."""
        tables = self._tables
        if failure.id in tables.failures:
            return Accepted(Intake.DUPLICATE, tables.recoveries[tables.failures[failure.id][0]])
        current = self._open_of(service) or self._quiet(failure, now)
        return Accepted(Intake.MERGED, self._merge(current, failure, now)) if current is not None else None

    def _quiet(self, failure: Failure, now: datetime) -> Recovery | None:
        """Return the newest closed recovery that absorbs `failure` for now."""
        closed = [row for row in self._tables.recoveries.values() if absorbs(row, failure, now)]
        return max(closed, key=lambda row: row.created_at, default=None)

    def _merge(self, current: Recovery, failure: Failure, now: datetime) -> Recovery:
        tables = self._tables
        current = tables.recoveries[current.id] = merged(current, failure)
        tables.failures[failure.id] = (current.id, failure)
        self._count(merge_decision(current, failure, now))
        return current

"""Recoveries with their failures and attempts, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recovery.errors import RecoveryError
from recovery.models import Attempt, AttemptState, Decision, Event, Failure, Lease, Mitigation, Recovery, Step
from recovery.ports import Accepted, Intake
from recovery.store.memory.ledger import MemoryLedger
from recovery.store.rules import PREFIX_LENGTH, absorbs, attempt_over, begins, later, may_run, merge_decision, merged, stored


class MemoryRecoveries(MemoryLedger):
    """Implements `ports.RecoveryStore`."""

    def open_recovery(
        self, recovery: Recovery, failure: Failure | None, decisions: Sequence[Decision], events: Sequence[Event]
    ) -> Accepted:
        """Insert `recovery`, or merge `failure` into the one that is open for its service."""
        tables = self._tables
        with tables.lock:
            if failure is not None and failure.id in tables.failures:
                return Accepted(Intake.DUPLICATE, tables.recoveries[tables.failures[failure.id][0]])
            current = self.open_recovery_of(recovery.service) or self._quiet(recovery, failure)
            if current is not None:
                return Accepted(Intake.MERGED, self._merge(current, failure, recovery.created_at) if failure else current)
            if recovery.id in tables.recoveries:
                raise RecoveryError(f"recovery {recovery.id} exists already", recovery_id=recovery.id)
            tables.recoveries[recovery.id] = recovery
            if failure is not None:
                tables.failures[failure.id] = (recovery.id, failure)
            self._note(decisions, events)
            return Accepted(Intake.OPENED, recovery)

    def _quiet(self, recovery: Recovery, failure: Failure | None) -> Recovery | None:
        """Return the newest closed recovery that absorbs `failure` for now."""
        if failure is None:
            return None
        closed = [row for row in self._tables.recoveries.values() if absorbs(row, failure, recovery.created_at)]
        return max(closed, key=lambda row: row.created_at, default=None)

    def _end_quiet(self, service: str) -> None:
        for row in list(self._tables.recoveries.values()):
            if row.service == service and row.quiet_until is not None:
                self._tables.recoveries[row.id] = replace(row, quiet_until=None)

    def _merge(self, current: Recovery, failure: Failure, now: datetime) -> Recovery:
        tables = self._tables
        current = tables.recoveries[current.id] = merged(current, failure)
        tables.failures[failure.id] = (current.id, failure)
        self._count(merge_decision(current, failure, now))
        return current

    def recovery(self, recovery_id: str) -> Recovery | None:
        """Return one recovery, by full id or by a unique prefix of at least 6 characters."""
        with self._tables.lock:
            if recovery_id in self._tables.recoveries:
                return self._tables.recoveries[recovery_id]
            matches = [row for key, row in self._tables.recoveries.items() if key.startswith(recovery_id)]
            return matches[0] if len(matches) == 1 and len(recovery_id) >= PREFIX_LENGTH else None

    def open_recovery_of(self, service: str) -> Recovery | None:
        """Return the open recovery of `service`, if any."""
        with self._tables.lock:
            return next((row for row in self._tables.recoveries.values() if row.service == service and row.state.is_open), None)

    def open_recoveries(self) -> list[Recovery]:
        """Return all open recoveries, most severe and oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.recoveries.values() if row.state.is_open]
        return sorted(rows, key=lambda row: (row.severity.rank, row.created_at, row.id))

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return ids of open recoveries whose `due_at` has come, those that wait longest first."""
        due = [(row.due_at, row.id) for row in self.open_recoveries() if row.due_at is not None and row.due_at <= now]
        return [recovery_id for _, recovery_id in sorted(due, key=lambda pair: pair[0])][:limit]

    def latest_failure(self, recovery_id: str) -> Failure | None:
        """Return the newest failure that was merged into a recovery."""
        with self._tables.lock:
            found = [failure for owner, failure in self._tables.failures.values() if owner == recovery_id]
        return found[-1] if found else None

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
        tables = self._tables
        with tables.lock:
            row = tables.recoveries.get(before.id)
            if row is None or row.version != before.version:
                return None
            result = stored(row, before, after)
            tables.recoveries[before.id] = result
            if attempt is not None:
                tables.attempts[attempt.recovery_id, attempt.number] = attempt
            if begins(before, after):
                self._end_quiet(before.service)
            if ended is not None:
                tables.mitigations.pop((ended.service, ended.strategy), None)
            if mitigation is not None:
                tables.mitigations[mitigation.service, mitigation.strategy] = mitigation
            self._note(decisions, events)
            return result

    def request_cancel(self, recovery_id: str, reason: str, now: datetime) -> Recovery | None:
        """Mark an open recovery as to be cancelled and make it due; None if it is closed or unknown."""
        with self._tables.lock:
            row = self._tables.recoveries.get(recovery_id)
            if row is None or not row.state.is_open:
                return None
            row = self._tables.recoveries[recovery_id] = replace(row, cancel_requested=True, reason=reason, due_at=now)
            return row

    def attempts(self, recovery_id: str) -> list[Attempt]:
        """Return the attempts of a recovery, in order."""
        with self._tables.lock:
            return [self._tables.attempts[key] for key in sorted(self._tables.attempts) if key[0] == recovery_id]

    def attempts_of(self, service: str, since: datetime) -> list[Attempt]:
        """Return every attempt on `service` created at or after `since`, oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.attempts.values() if row.service == service and row.created_at >= since]
        return sorted(rows, key=lambda row: (row.created_at, row.recovery_id, row.number))

    def steps(self, recovery_id: str, attempt: int | None = None) -> list[Step]:
        """Return the journal of a recovery (or of one attempt), in order."""
        with self._tables.lock:
            keys = sorted(key for key in self._tables.steps if key[0] == recovery_id and attempt in (None, key[1]))
            return [self._tables.steps[key] for key in keys]

    def begin_attempt(self, lease: Lease, number: int, now: datetime) -> Attempt:
        """Mark the attempt as running under `lease`; raises `LeaseLost`, also when there is nothing left to run."""
        tables = self._tables
        with tables.lock:
            tables.require(lease)
            row, recovery = tables.attempts.get((lease.recovery_id, number)), tables.recoveries.get(lease.recovery_id)
            if row is None or recovery is None or not may_run(recovery, row):
                raise attempt_over(lease, number)
            running = replace(row, state=AttemptState.RUNNING, started_at=row.started_at or now, fence=lease.fence, runs=row.runs + 1)
            tables.attempts[lease.recovery_id, number] = running
            tables.recoveries[recovery.id] = replace(recovery, due_at=lease.until, version=recovery.version + 1)
            return running

    def journal(self, lease: Lease, step: Step) -> None:
        """Insert or replace one step's row; raises `LeaseLost` if `lease` is not the newest."""
        with self._tables.lock:
            self._tables.require(lease)
            self._tables.steps[step.recovery_id, step.attempt, step.position] = step

    def finish_attempt(self, lease: Lease, attempt: Attempt, events: Sequence[Event], now: datetime) -> None:
        """Store a finished attempt and make its recovery due now; raises `LeaseLost` if `lease` is not the newest."""
        tables = self._tables
        with tables.lock:
            tables.require(lease)
            tables.attempts[attempt.recovery_id, attempt.number] = attempt
            recovery = tables.recoveries.get(attempt.recovery_id)
            if recovery is not None and recovery.state.is_open:
                tables.recoveries[recovery.id] = replace(recovery, due_at=now, version=recovery.version + 1)
            self._note((), events)

    def mitigations(self) -> list[Mitigation]:
        """Return the remedies that are in place."""
        with self._tables.lock:
            return [self._tables.mitigations[key] for key in sorted(self._tables.mitigations)]

    def end_mitigation(self, mitigation: Mitigation, events: Sequence[Event]) -> bool:
        """Remove a mitigation that ended by itself; False if it is gone or was replaced by a newer one."""
        key = (mitigation.service, mitigation.strategy)
        with self._tables.lock:
            row = self._tables.mitigations.get(key)
            if row is None or (row.recovery_id, row.since) != (mitigation.recovery_id, mitigation.since):
                return False
            del self._tables.mitigations[key]
            self._note((), events)
            return True

    def busy(self, now: datetime) -> dict[str, datetime | None]:
        """Return what needs no new report: services with an open recovery (None), and fingerprints that are quiet after `now`."""
        found: dict[str, datetime | None] = {}
        with self._tables.lock:
            rows = list(self._tables.recoveries.values())
        for row in rows:
            if row.state.is_open:
                found[row.service] = None
            elif row.quiet_until is not None and row.quiet_until > now:
                found[row.fingerprint] = later(found.get(row.fingerprint), row.quiet_until)
        return found

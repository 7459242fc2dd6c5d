"""Running attempts, their steps, and the remedies that they leave in place, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recovery.models import Attempt, AttemptState, Event, Lease, Mitigation, Step
from recovery.store.memory.ledger import MemoryLedger
from recovery.store.rules import attempt_over, may_run


class MemoryJournal(MemoryLedger):
    """The attempts, steps and mitigations of `ports.RecoveryStore`."""

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
            tables.touched[recovery.id] = now
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
                tables.touched[recovery.id] = now
            self._note((), events)

    def hand_back(self, lease: Lease, number: int, now: datetime) -> None:
        """Give a claim up in the middle of an attempt, by a holder that lives; raises `LeaseLost` if `lease` is not the newest."""
        tables = self._tables
        with tables.lock:
            tables.require(lease)
            row, recovery = tables.attempts.get((lease.recovery_id, number)), tables.recoveries.get(lease.recovery_id)
            if row is not None and recovery is not None and row.state is AttemptState.RUNNING and row.fence == lease.fence:
                tables.attempts[lease.recovery_id, number] = replace(row, runs=row.runs - 1)
                tables.recoveries[recovery.id] = replace(recovery, version=recovery.version + 1)
                tables.touched[recovery.id] = now
            tables.released.add((lease.service, lease.fence))

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

"""Recoveries and how they change, in memory."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

from recovery.clocks import ahead
from recovery.models import Approval, Attempt, Basis, Decision, Event, Kind, Load, Mitigation, Quota, Recovery, RecoveryState
from recovery.store.memory.intake import MemoryIntake
from recovery.store.memory.journal import MemoryJournal
from recovery.store.rules import ASKED_FOR, PREFIX_LENGTH, begins, stored, urgency

LEFT_ALONE = {RecoveryState.SUPPRESSED, RecoveryState.FAILED}


class MemoryRecoveries(MemoryIntake, MemoryJournal):
    """Implements `ports.RecoveryStore`."""

    def together(self) -> AbstractContextManager[object]:
        """Read within the block what belongs together: as it is at one moment."""
        return self._tables.lock

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
            return self._open_of(service)

    def open_recoveries(self) -> list[Recovery]:
        """Return all open recoveries, most severe and oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.recoveries.values() if row.state.is_open]
        return sorted(rows, key=urgency)

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return ids of open recoveries whose `due_at` has come, or was written by a clock that ran ahead; the longest due first."""
        with self._tables.lock:
            touched = dict(self._tables.touched)
        waiting = [(row.due_at, row.id) for row in self.open_recoveries() if row.due_at is not None]
        due = [pair for pair in waiting if pair[0] <= now or ahead(touched.get(pair[1]), now)]
        return [recovery_id for _, recovery_id in sorted(due, key=lambda pair: pair[0])][:limit]

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
        approval: Approval | None = None,
        basis: Basis | None = None,
        quota: Quota | None = None,
        now: datetime | None = None,
    ) -> Recovery | None:
        """Replace `before` by `after` if the row still has `before.version`, with all the rows that belong to it."""
        tables = self._tables
        with tables.lock:
            row = tables.recoveries.get(before.id)
            if row is None or row.version != before.version or (quota is not None and not self._allows(quota, before)):
                return None
            result = stored(row, before, after)
            tables.recoveries[before.id] = result
            tables.touched[before.id] = now or tables.touched[before.id]
            if attempt is not None:
                tables.attempts[attempt.recovery_id, attempt.number] = attempt
            if begins(before, after):
                self._end_quiet(before.service)
            if ended is not None:
                tables.mitigations.pop((ended.service, ended.strategy), None)
            if mitigation is not None:
                tables.mitigations[mitigation.service, mitigation.strategy] = mitigation
            if approval is not None:
                tables.approvals[approval.recovery_id] = approval
            news = self._note(decisions, events)
            if basis is not None and (news or not decisions):
                tables.bases.append(basis)
            return result

    def quiet_ending(self, now: datetime, until: datetime, limit: int) -> list[Recovery]:
        """Return what was left alone and ends being quiet after `now` and by `until`, the first to end first."""
        with self._tables.lock:
            rows = [row for row in self._tables.recoveries.values() if row.kind is Kind.AUTOMATIC and not row.attempt]
        left = [(row.quiet_until, row.id, row) for row in rows if row.state in LEFT_ALONE and row.quiet_until is not None]
        return [row for end, _, row in sorted(left, key=lambda each: each[:2]) if now < end <= until][:limit]

    def prolong(self, left: Recovery, until: datetime, decisions: Sequence[Decision]) -> bool:
        """Let the quiet of a closed recovery end later, and count the decisions that it rests on."""
        with self._tables.lock:
            row = self._tables.recoveries.get(left.id)
            if row is None or row.state.is_open or row.quiet_until != left.quiet_until:
                return False
            self._tables.recoveries[left.id] = replace(row, quiet_until=until)
            for decision in decisions:
                self._count(decision)
            return True

    def load(self, recovery: Recovery | None, guard: str, since: datetime) -> Load:
        """Return what is under way over the fleet."""
        with self._tables.lock:
            rows = list(self._tables.recoveries.values())
        open_now = [row for row in rows if row.state.is_open]
        mine = urgency(recovery) if recovery else None
        return Load(
            in_progress=sum(row.state is RecoveryState.IN_PROGRESS for row in open_now),
            open=sum(row.kind not in ASKED_FOR for row in open_now),
            begun=sum(row.started_at is not None and row.started_at >= since for row in rows),
            ahead=sum(row.held_by == guard and (mine is None or urgency(row) < mine) for row in open_now),
        )

    def wake_held(self, guard: str, limit: int, now: datetime) -> int:
        """Make the `limit` most urgent open recoveries that `guard` holds due now; return how many there were."""
        with self._tables.lock:
            held = [row for row in self.open_recoveries() if row.held_by == guard][:limit]
            self._wake(held, now)
            return len(held)

    def request_cancel(self, recovery_id: str, reason: str, now: datetime) -> Recovery | None:
        """Mark an open recovery as to be cancelled and make it due; None if it is closed or unknown."""
        with self._tables.lock:
            row = self._tables.recoveries.get(recovery_id)
            if row is None or not row.state.is_open:
                return None
            row = self._tables.recoveries[recovery_id] = replace(row, cancel_requested=True, reason=reason, due_at=now)
            self._tables.touched[recovery_id] = now
            return row

    def _allows(self, quota: Quota, of: Recovery) -> bool:
        """Say whether one more recovery may begin."""
        others = [row for row in self._tables.recoveries.values() if row.id != of.id]
        if sum(row.state is RecoveryState.IN_PROGRESS for row in others) >= quota.concurrent:
            return False
        if quota.actions is None or quota.since is None:
            return True
        return sum(row.started_at is not None and row.started_at >= quota.since for row in others) < quota.actions

    def _end_quiet(self, service: str) -> None:
        for row in list(self._tables.recoveries.values()):
            if row.service == service and row.quiet_until is not None:
                self._tables.recoveries[row.id] = replace(row, quiet_until=None)

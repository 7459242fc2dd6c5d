"""Decisions, events and the audit trail, in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from recovery.clocks import SKEW
from recovery.models import Decision, Event, JsonObject, Recovery
from recovery.ports import Refusal
from recovery.store.memory.tables import AuditRow, Noted, Room
from recovery.store.refusals import ACTION, WINDOW, key_of, tally
from recovery.store.rules import by_service, repeat_key


class MemoryLedger(Room):
    """Append-only rows, and reading them back for tests."""

    def record(self, decisions: Sequence[Decision] = (), events: Sequence[Event] = ()) -> None:
        """Store decisions and events that belong to no transition; what repeats the newest decisions only counts up."""
        with self._tables.lock:
            self._note(decisions, events)

    def audit(self, action: str, actor: str, detail: JsonObject, at: datetime) -> None:
        """Append one row to the audit trail."""
        with self._tables.lock:
            self._tables.audits.append(AuditRow(action, actor, detail, at))

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note reports that were not taken in; equal ones within a minute count up one row."""
        if not refusals:
            return
        now, audits = refusals[-1].at, self._tables.audits
        with self._tables.lock:
            recent = [number for number, row in enumerate(audits) if row.action == ACTION and now - WINDOW < row.at <= now + SKEW]
            rows = {key_of(audits[number].actor, audits[number].detail): number for number in recent}
            for key, detail in tally({key: audits[number].detail for key, number in rows.items()}, refusals).items():
                if key in rows:
                    audits[rows[key]] = replace(audits[rows[key]], detail=detail)
                else:
                    audits.append(AuditRow(ACTION, key[0], detail, now))

    @property
    def decisions(self) -> list[Decision]:
        """Return every recorded decision, oldest first; a repeated one appears once."""
        with self._tables.lock:
            return [noted.decision for noted in self._tables.decisions]

    @property
    def events(self) -> list[Event]:
        """Return every event, oldest first."""
        with self._tables.lock:
            return list(self._tables.events)

    @property
    def audits(self) -> list[AuditRow]:
        """Return the audit trail, oldest first."""
        with self._tables.lock:
            return list(self._tables.audits)

    def _note(self, decisions: Sequence[Decision], events: Sequence[Event]) -> bool:
        """Add decisions and events; return whether any decision was new."""
        new = False
        for service, batch in by_service(decisions).items():
            newest = [noted for noted in self._tables.decisions if noted.decision.service == service][-len(batch) :]
            if [repeat_key(noted.decision) for noted in newest] == [repeat_key(decision) for decision in batch]:
                for noted, decision in zip(newest, batch, strict=True):
                    noted.count(decision)
            else:
                self._tables.decisions.extend(Noted(decision) for decision in batch)
                new = True
        self._tables.events.extend(events)
        return new

    def _wake(self, rows: Iterable[Recovery], now: datetime) -> None:
        """Make open recoveries due, unless they are already."""
        for row in rows:
            if row.due_at is None or row.due_at > now:
                self._tables.recoveries[row.id] = replace(row, due_at=now)
                self._tables.touched[row.id] = now

    def _count(self, decision: Decision) -> None:
        """Count a merge up if its recovery has one for the same fingerprint, else record it."""
        for noted in self._tables.decisions:
            if noted.decision.recovery_id == decision.recovery_id and repeat_key(noted.decision) == repeat_key(decision):
                noted.count(decision)
                return
        self._tables.decisions.append(Noted(decision))

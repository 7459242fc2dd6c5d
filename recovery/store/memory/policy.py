"""Silences, answers to questions, the bases of decisions and signs of life, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recovery.models import Answer, Approval, Basis, Event, JsonObject, Pulse, Silence
from recovery.store.memory.ledger import MemoryLedger
from recovery.store.rules import PREFIX_LENGTH, answered, is_newer_pulse, not_over


class MemoryPolicy(MemoryLedger):
    """Implements `ports.PolicyStore`, and the approvals and bases of `ports.RecoveryStore`."""

    def approval(self, recovery_id: str) -> Approval | None:
        """Return the question that was asked for a recovery, if any."""
        with self._tables.lock:
            return self._tables.approvals.get(recovery_id)

    def answer(self, recovery_id: str, answer: Answer, by: str, comment: str, now: datetime) -> Approval | None:
        """Answer the open question of a recovery and make it due; the first answer wins."""
        tables = self._tables
        with tables.lock:
            asked, recovery = tables.approvals.get(recovery_id), tables.recoveries.get(recovery_id)
            if asked is None or recovery is None or not recovery.state.is_open:
                return None
            given = answered(asked, answer, by, comment, now)
            if given is not asked:
                tables.approvals[recovery_id] = given
                self._wake([recovery], now)
                recovery = tables.recoveries[recovery_id]  # whoever is just letting the question lapse must look again
                tables.recoveries[recovery_id] = replace(recovery, version=recovery.version + 1)
            return given

    def bases(self, since: datetime, limit: int) -> list[Basis]:
        """Return what decisions at or after `since` rested on, oldest first, at most `limit`."""
        with self._tables.lock:
            return [basis for basis in self._tables.bases if basis.at >= since][:limit]

    def silences(self, now: datetime) -> list[Silence]:
        """Return the silences that are in force at `now` or will be, oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.silences.values() if not_over(row, now)]
        return sorted(rows, key=lambda row: (row.created_at, row.id))

    def put_silence(self, silence: Silence, events: Sequence[Event] = ()) -> None:
        """Put a silence in force; one with the same id is replaced."""
        with self._tables.lock:
            self._tables.silences[silence.id] = silence
            self._note((), events)

    def lift_silence(self, silence_id: str, by: str, now: datetime, events: Sequence[Event] = ()) -> Silence | None:
        """End a silence, by full id or by a unique prefix of at least 6 characters; None if none of this id is in force or to come."""
        tables = self._tables
        with tables.lock:
            rows = self.silences(now)
            alike = [row for row in rows if row.id.startswith(silence_id)] if len(silence_id) >= PREFIX_LENGTH else []
            found = [row for row in rows if row.id == silence_id] or (alike if len(alike) == 1 else [])
            if not found:
                return None
            lifted = tables.silences[found[0].id] = replace(found[0], lifted_at=now, lifted_by=by)
            self._wake([row for row in tables.recoveries.values() if row.state.is_open and row.held_by == lifted.kind], now)
            self._note((), events)
            return lifted

    def pulse(self, name: str, at: datetime, detail: JsonObject) -> None:
        """Note that a part of the platform is alive; never moves a pulse back in time by less than a minute."""
        with self._tables.lock:
            known = self._tables.pulses.get(name)
            if known is None or is_newer_pulse(known.at, at):
                self._tables.pulses[name] = Pulse(name, at, detail)

    def pulses(self) -> dict[str, Pulse]:
        """Return the last sign of life of every part, by name."""
        with self._tables.lock:
            return dict(sorted(self._tables.pulses.items()))

    def forget_pulses(self, before: datetime) -> int:
        """Delete the pulses of parts that were last heard of before this moment; return how many."""
        with self._tables.lock:
            old = [name for name, pulse in self._tables.pulses.items() if pulse.at < before]
            for name in old:
                del self._tables.pulses[name]
            return len(old)

"""Standings of automatic rules of degradation, in memory."""

from collections.abc import Sequence
from dataclasses import replace

from recovery.models import Event, RuleStanding
from recovery.store.memory.tables import AuditRow, Room
from recovery.store.rules import audited


class MemoryDegrading(Room):
    """Implements `ports.RuleStore`."""

    def rule_standings(self) -> dict[str, RuleStanding]:
        """Return how each rule stands that ever held, by name."""
        with self._tables.lock:
            return dict(self._tables.rules)

    def move_rule(self, before: RuleStanding | None, after: RuleStanding | None, events: Sequence[Event] = ()) -> bool:
        """Replace `before` by `after` if nobody else has, with its events; False: somebody was faster."""
        named = before or after
        with self._tables.lock:
            current = self._tables.rules.get(named.rule) if named else None
            if named is None or (current.version if current else 0) != (before.version if before else 0):
                return False
            if after is None:
                del self._tables.rules[named.rule]
            else:
                self._tables.rules[named.rule] = replace(after, version=after.version + 1)
            self.record_audited(events)
        return True

    def record_audited(self, events: Sequence[Event]) -> None:
        """Store events with a row in the audit trail each."""
        with self._tables.lock:
            self._tables.events.extend(events)
            self._tables.audits.extend(AuditRow(**audited(event)) for event in events)

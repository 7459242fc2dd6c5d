"""Standings of automatic rules of degradation and what else is in force, in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recovery.models import Degradation, Event, RuleStanding
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

    def degraded(self) -> list[Degradation]:
        """Return what people and remedies put in force and whose end is not told yet, by service and layer."""
        with self._tables.lock:
            return [found for _, found in sorted(self._tables.degraded.items())]

    def record_degraded(self, degradation: Degradation, events: Sequence[Event], *, stays: bool) -> None:
        """Keep what is in force in its layer from now on, or forget it, unless something newer is there; its events are stored."""
        key = (degradation.service, degradation.layer)
        with self._tables.lock:
            known = self._tables.degraded.get(key)
            if known is None or known.fence <= degradation.fence:
                self._tables.degraded.pop(key, None)
                if stays:
                    self._tables.degraded[key] = degradation
            self.record_audited(events)

    def lapse_degraded(self, degradation: Degradation, events: Sequence[Event], now: datetime) -> bool:
        """Forget a degradation that is over at `now`, with its events; False: somebody was faster, or put it again."""
        key = (degradation.service, degradation.layer)
        with self._tables.lock:
            known = self._tables.degraded.get(key)
            if known is None or known.fence != degradation.fence or known.until > now:
                return False
            del self._tables.degraded[key]
            self.record_audited(events)
        return True

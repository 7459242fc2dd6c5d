"""The history of circuit breakers, in memory."""

from collections.abc import Sequence

from recovery.models import BreakerChange
from recovery.store.memory.tables import Room
from recovery.store.rules import event_of


class MemoryBreakerHistory(Room):
    """Implements `ports.BreakerHistory`."""

    def record_changes(self, changes: Sequence[BreakerChange]) -> int:
        """Store changes, each with its event; known ones are passed over. Return how many were new."""
        tables, new = self._tables, 0
        with tables.lock:
            known = {(change.stream_id, change.breaker) for change in tables.breaker_changes}
            for change in changes:
                if (change.stream_id, change.breaker) not in known:
                    known.add((change.stream_id, change.breaker))
                    tables.breaker_changes.append(change)
                    tables.events.extend(event_of(change))
                    new += 1
        return new

    def breaker_changes(self, breaker: str, limit: int) -> list[BreakerChange]:
        """Return the newest changes of one breaker, newest first."""
        with self._tables.lock:
            found = [change for change in reversed(self._tables.breaker_changes) if change.breaker == breaker]
        return sorted(found, key=lambda change: change.at, reverse=True)[:limit]

"""Jobs that one process alone may do, in memory."""

from dataclasses import replace
from datetime import datetime

from recovery.store.memory.tables import Room, Term
from recovery.store.rules import latest_honest


class MemoryLeadership(Room):
    """Implements `ports.Leadership`."""

    def lead(self, name: str, holder: str, now: datetime, until: datetime) -> int | None:
        """Take or keep the job `name` until `until`; None: somebody else has it."""
        with self._tables.lock:
            current = self._tables.leaders.get(name, Term(None, 0, now))
            mine = current.holder == holder
            if not mine and current.holder is not None and now < current.until <= latest_honest(now, until):
                return None
            term = Term(holder, current.fence if mine else current.fence + 1, until)
            self._tables.leaders[name] = term
            return term.fence

    def resign(self, name: str, holder: str) -> None:
        """Give the job up, so that the next one need not wait; does nothing if somebody else has it."""
        with self._tables.lock:
            current = self._tables.leaders.get(name)
            if current is not None and current.holder == holder:
                self._tables.leaders[name] = replace(current, holder=None)

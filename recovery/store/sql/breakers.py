"""The history of circuit breakers: rows that are only ever added, once each."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import bindparam, select

from recovery.models import BreakerChange
from recovery.store.rules import event_of
from recovery.store.schema import breaker_changes, events
from recovery.store.sql.room import Room, changed, columns_of, dialect_insert, insert_all, load_all, values_of

_NEWEST = (
    select(*columns_of(BreakerChange, breaker_changes))
    .where(breaker_changes.c.breaker == bindparam("of"))
    .order_by(breaker_changes.c.at.desc(), breaker_changes.c.id.desc())
    .limit(bindparam("how_many"))
)


@cache
def _insert(dialect: str) -> Any:
    return dialect_insert(dialect, breaker_changes).on_conflict_do_nothing(index_elements=["stream_id", "breaker"])


class SqlBreakers(Room):
    """Implements `ports.BreakerHistory`."""

    def record_changes(self, changes: Sequence[BreakerChange]) -> int:
        """Store changes, each with its event; known ones are passed over. Return how many were new."""
        if not changes:
            return 0
        with self._writing() as connection:
            insert = _insert(connection.dialect.name)
            new = [change for change in changes if changed(connection, insert, **values_of(change))]
            insert_all(connection, events, [values_of(event) for change in new for event in event_of(change)])
        return len(new)

    def breaker_changes(self, breaker: str, limit: int) -> list[BreakerChange]:
        """Return the newest changes of one breaker, newest first."""
        with self._reading() as connection:
            return load_all(BreakerChange, connection.execute(_NEWEST, {"of": breaker, "how_many": limit}).all())

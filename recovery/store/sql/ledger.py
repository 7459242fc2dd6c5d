"""Decisions, events and the audit trail: rows that are only ever added, or counted up when they repeat."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from recovery.models import Decision, Event, JsonObject
from recovery.store.rules import by_service, repeat_key
from recovery.store.schema import audit, decisions, events
from recovery.store.sql.room import Room, insert_all, values_of

_NEWEST = (
    select(decisions.c.id, decisions.c.repeat_key)
    .where(decisions.c.service == bindparam("of"))
    .order_by(decisions.c.id.desc())
    .limit(bindparam("how_many"))
)
_SAME = (
    select(decisions.c.id)
    .where(decisions.c.recovery_id == bindparam("of_recovery"), decisions.c.repeat_key == bindparam("key"))
    .order_by(decisions.c.id.desc())
    .limit(1)
)
_COUNT = (
    update(decisions)
    .where(decisions.c.id == bindparam("row"))
    .values(repeats=decisions.c.repeats + 1, last_at=bindparam("made_at"), until=bindparam("again_at"))
)


class SqlLedger(Room):
    """The append-only part of `ports.RecoveryStore`."""

    def record(self, decisions: Sequence[Decision] = (), events: Sequence[Event] = ()) -> None:
        """Store decisions and events that belong to no transition; what repeats the newest decisions only counts up."""
        if decisions or events:
            with self._writing() as connection:
                note(connection, decisions, events)

    def audit(self, action: str, actor: str, detail: JsonObject, at: datetime) -> None:
        """Append one row to the audit trail."""
        with self._writing() as connection:
            connection.execute(insert(audit), {"action": action, "actor": actor, "detail": detail, "at": at})


def note(connection: Connection, made: Sequence[Decision], happened: Sequence[Event]) -> None:
    """Add decisions and events to the running transaction; decisions that repeat the newest of their service only count up."""
    for service, batch in by_service(made).items():
        newest = connection.execute(_NEWEST, {"of": service, "how_many": len(batch)}).all()[::-1]
        if [row.repeat_key for row in newest] == [repeat_key(decision) for decision in batch]:
            connection.execute(_COUNT, [_repeat(row.id, decision) for row, decision in zip(newest, batch, strict=True)])
        else:
            insert_all(connection, decisions, [_row(decision) for decision in batch])
    insert_all(connection, events, [values_of(event) for event in happened])


def count(connection: Connection, decision: Decision) -> None:
    """Count a merge up if its recovery has one for the same fingerprint, else record it."""
    same = connection.execute(_SAME, {"of_recovery": decision.recovery_id, "key": repeat_key(decision)}).scalar()
    if same is None:
        insert_all(connection, decisions, [_row(decision)])
    else:
        connection.execute(_COUNT, _repeat(same, decision))


def _row(decision: Decision) -> dict[str, Any]:
    return {**values_of(decision), "repeats": 0, "last_at": None, "repeat_key": repeat_key(decision)}


def _repeat(row: int, decision: Decision) -> dict[str, Any]:
    return {"row": row, "made_at": decision.at, "again_at": decision.until}

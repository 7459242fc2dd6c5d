"""Decisions, events and the audit trail: rows that are only ever added, or counted up when they repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from recovery.clocks import SKEW
from recovery.models import Choice, Decision, Event, JsonObject
from recovery.ports import Refusal
from recovery.store.refusals import ACTION, WINDOW, key_of, tally
from recovery.store.rules import by_service, repeat_key
from recovery.store.schema import audit, decisions, events
from recovery.store.sql.room import AnyConnection, Room, insert_all, inserted, values_of

_NEWEST = (
    select(decisions.c.id, decisions.c.repeat_key)
    .where(decisions.c.service == bindparam("of"))
    .order_by(decisions.c.id.desc())
    .limit(bindparam("how_many"))
)
_SAME = (
    select(func.max(decisions.c.id))
    .where(decisions.c.recovery_id == bindparam("of_recovery"), decisions.c.repeat_key == bindparam("key"))
    .scalar_subquery()
)
_COUNT_SAME = (
    update(decisions)
    .where(decisions.c.id == _SAME)
    .values(repeats=decisions.c.repeats + bindparam("times"), last_at=bindparam("made_at"), until=bindparam("again_at"))
)
_SAME_ALL = (
    select(decisions.c.recovery_id, decisions.c.repeat_key, func.max(decisions.c.id).label("newest"))
    .where(decisions.c.recovery_id.in_(bindparam("of", expanding=True)), decisions.c.choice == Choice.MERGE)
    .group_by(decisions.c.recovery_id, decisions.c.repeat_key)
)
_REFUSED = (
    select(audit.c.id, audit.c.actor, audit.c.detail)
    .where(audit.c.at > bindparam("since"), audit.c.at <= bindparam("until"), audit.c.action == ACTION)
    .with_for_update()
)
_REFUSED_AGAIN = update(audit).where(audit.c.id == bindparam("row"))
_COUNT = (
    update(decisions)
    .where(decisions.c.id == bindparam("row"))
    .values(repeats=decisions.c.repeats + bindparam("times"), last_at=bindparam("made_at"), until=bindparam("again_at"))
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
            connection.execute(inserted(audit), {"action": action, "actor": actor, "detail": detail, "at": at})

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note reports that were not taken in; equal ones within a minute count up one row."""
        if not refusals:
            return
        now = refusals[-1].at
        with self._writing() as connection:
            recent = connection.execute(_REFUSED, {"since": now - WINDOW, "until": now + SKEW}).all()
            rows = {key_of(row.actor, row.detail): row.id for row in recent}
            changed = tally({key_of(row.actor, row.detail): row.detail for row in recent}, refusals)
            for key, detail in changed.items():
                if key in rows:
                    connection.execute(_REFUSED_AGAIN, {"row": rows[key], "detail": detail})
                else:
                    connection.execute(inserted(audit), {"action": ACTION, "actor": key[0], "detail": detail, "at": now})


def note(connection: AnyConnection, made: Sequence[Decision], happened: Sequence[Event]) -> bool:
    """Add decisions and events to the running transaction; return whether any decision was new.

    Decisions that repeat the newest of their service only count up.
    """
    new = False
    for service, batch in by_service(made).items():
        keys = [repeat_key(decision) for decision in batch]
        newest = connection.execute(_NEWEST, {"of": service, "how_many": len(batch)}).all()[::-1]
        if [row.repeat_key for row in newest] == keys:
            connection.execute(_COUNT, [_repeat(row.id, decision) for row, decision in zip(newest, batch, strict=True)])
        else:
            insert_all(connection, decisions, [_row(decision, key) for decision, key in zip(batch, keys, strict=True)])
            new = True
    insert_all(connection, events, [values_of(event) for event in happened])
    return new


def count(connection: AnyConnection, decision: Decision) -> None:
    """Count a merge up if its recovery has one for the same fingerprint, else record it."""
    key = repeat_key(decision)
    again = {"of_recovery": decision.recovery_id, "key": key, "times": 1, "made_at": decision.at, "again_at": decision.until}
    if not connection.execute(_COUNT_SAME, again).rowcount:
        connection.execute(inserted(decisions), _row(decision, key))


@dataclass(slots=True)
class Merges:
    """Equal merges into one recovery, made one after the other."""

    first: Decision
    times: int = 0
    last_at: datetime | None = None


def count_all(connection: Connection, made: Sequence[Merges]) -> None:
    """Do what `count` does, for many merges at once."""
    if not made:
        return
    rows = connection.execute(_SAME_ALL, {"of": sorted({str(merges.first.recovery_id) for merges in made})})
    known = {(row.recovery_id, row.repeat_key): row.newest for row in rows}
    again, fresh = [], []
    for merges in made:
        first, key = merges.first, repeat_key(merges.first)
        row = known.get((first.recovery_id, key))
        if row is not None:
            again.append({"row": row, "times": merges.times, "made_at": merges.last_at, "again_at": first.until})
        else:
            fresh.append({**_row(first, key), "repeats": merges.times - 1, "last_at": merges.last_at if merges.times > 1 else None})
    if again:
        connection.execute(_COUNT, again)
    insert_all(connection, decisions, fresh)


def _row(decision: Decision, key: str = "") -> dict[str, Any]:
    return {**values_of(decision), "repeats": 0, "last_at": None, "repeat_key": key or repeat_key(decision)}


def _repeat(row: int, decision: Decision) -> dict[str, Any]:
    return {"row": row, "times": 1, "made_at": decision.at, "again_at": decision.until}

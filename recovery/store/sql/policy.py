"""Silences, answers to questions, the bases of decisions and signs of life."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, or_, select, update

from recovery.models import Answer, Approval, Basis, Event, JsonObject, Pulse, Silence
from recovery.store.rules import PREFIX_LENGTH, PULSE_BACK, answered
from recovery.store.schema import IS_OPEN, approvals, bases, pulses, recoveries, silences
from recovery.store.sql.ledger import note
from recovery.store.sql.load import wake, wake_all
from recovery.store.sql.room import AnyConnection, Room, columns_of, dialect_insert, load_all, values_of

_APPROVAL = select(*columns_of(Approval, approvals)).where(approvals.c.recovery_id == bindparam("of"))
_OPEN_QUESTION = (
    _APPROVAL.join(recoveries, recoveries.c.id == approvals.c.recovery_id)
    .where(IS_OPEN)
    .with_for_update()  # both rows: with the recovery's alone, who waited for an earlier answer would not see it
)
_ANSWER = update(approvals).where(approvals.c.recovery_id == bindparam("of"))
_LOOK_AGAIN = update(recoveries).where(recoveries.c.id == bindparam("of")).values(version=recoveries.c.version + 1)
_BASES = (
    select(*columns_of(Basis, bases)).where(bases.c.at >= bindparam("since")).order_by(bases.c.at, bases.c.id).limit(bindparam("how_many"))
)
_SILENCES = (
    select(*columns_of(Silence, silences))
    .where(silences.c.lifted_at.is_(None), or_(silences.c.until.is_(None), silences.c.until > bindparam("now")))
    .order_by(silences.c.created_at, silences.c.id)
)
_LIFT = update(silences).where(silences.c.id == bindparam("of"))
_PULSES = select(*columns_of(Pulse, pulses)).order_by(pulses.c.name)
_FORGET = delete(pulses).where(pulses.c.at < bindparam("before"))


@cache
def _pulse(dialect: str) -> Any:
    """Insert a pulse, or move the known one: forward, or far enough back that the clock must have been set back."""
    insert = dialect_insert(dialect, pulses)
    moment = pulses.c.at.type
    newer = or_(pulses.c.at <= insert.excluded.at, pulses.c.at >= bindparam("far_ahead", type_=moment))
    return insert.on_conflict_do_update(
        index_elements=["name"], set_={"at": insert.excluded.at, "detail": insert.excluded.detail}, where=newer
    )


class SqlPolicy(Room):
    """Implements `ports.PolicyStore`, and the approvals and bases of `ports.RecoveryStore`."""

    def approval(self, recovery_id: str) -> Approval | None:
        """Return the question that was asked for a recovery, if any."""
        with self._reading() as connection:
            return connection.execute(_APPROVAL, {"of": recovery_id}).first(Approval)

    def answer(self, recovery_id: str, answer: Answer, by: str, comment: str, now: datetime) -> Approval | None:
        """Answer the open question of a recovery and make it due; the first answer wins."""
        with self._writing() as connection:
            asked = connection.execute(_OPEN_QUESTION, {"of": recovery_id}).first(Approval)
            if asked is None:
                return None
            given = answered(asked, answer, by, comment, now)
            if given is not asked:
                connection.execute(_ANSWER, {"of": recovery_id, **values_of(given)})
                wake(connection, recovery_id, now)
                connection.execute(_LOOK_AGAIN, {"of": recovery_id})  # whoever is just letting the question lapse
            return given

    def bases(self, since: datetime, limit: int) -> list[Basis]:
        """Return what decisions at or after `since` rested on, oldest first, at most `limit`."""
        with self._reading() as connection:
            rows = load_all(Basis, connection.execute(_BASES, {"since": since, "how_many": limit}))
        return [replace(row, decisions=tuple(row.decisions)) for row in rows]

    def silences(self, now: datetime) -> list[Silence]:
        """Return the silences that are in force at `now` or will be, oldest first."""
        with self._reading() as connection:
            return _silences(connection, now)

    def put_silence(self, silence: Silence, events: Sequence[Event] = ()) -> None:
        """Put a silence in force; one with the same id is replaced."""
        with self._writing() as connection:
            connection.execute(self._upsert(silences), {**values_of(silence), "services": list(silence.services)})
            note(connection, (), events)

    def lift_silence(self, silence_id: str, by: str, now: datetime, events: Sequence[Event] = ()) -> Silence | None:
        """End a silence, by full id or by a unique prefix of at least 6 characters; None if none of this id is in force or to come."""
        with self._writing() as connection:
            rows = _silences(connection, now)
            alike = [row for row in rows if row.id.startswith(silence_id)] if len(silence_id) >= PREFIX_LENGTH else []
            found = [row for row in rows if row.id == silence_id] or (alike if len(alike) == 1 else [])
            if not found:
                return None
            lifted = replace(found[0], lifted_at=now, lifted_by=by)
            connection.execute(_LIFT, {"of": lifted.id, "lifted_at": now, "lifted_by": by})
            wake_all(connection, lifted.kind, now)
            note(connection, (), events)
            return lifted

    def pulse(self, name: str, at: datetime, detail: JsonObject) -> None:
        """Note that a part of the platform is alive; never moves a pulse back in time by less than a minute."""
        with self._writing() as connection:
            row = {"name": name, "at": at, "detail": detail, "far_ahead": at + PULSE_BACK}
            connection.execute(_pulse(connection.dialect.name), row)

    def pulses(self) -> dict[str, Pulse]:
        """Return the last sign of life of every part, by name."""
        with self._reading() as connection:
            return {row.name: row for row in load_all(Pulse, connection.execute(_PULSES))}

    def forget_pulses(self, before: datetime) -> int:
        """Delete the pulses of parts that were last heard of before this moment; return how many."""
        with self._writing() as connection:
            return connection.execute(_FORGET, {"before": before}).rowcount


def _silences(connection: AnyConnection, now: datetime) -> list[Silence]:
    rows = load_all(Silence, connection.execute(_SILENCES, {"now": now}))
    return [replace(row, services=tuple(row.services)) for row in rows]

"""Recoveries: looking them up, and changing them one version after the other."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, update

from recovery.clocks import SKEW
from recovery.models import Approval, Attempt, Basis, Decision, Event, Mitigation, Quota, Recovery
from recovery.store.direct import DirectConnection
from recovery.store.rules import PREFIX_LENGTH, Restless, begins, stored
from recovery.store.schema import IS_OPEN, approvals, attempts, bases, recoveries
from recovery.store.sql.ledger import note
from recovery.store.sql.load import URGENCY, allows
from recovery.store.sql.mitigations import lift, put
from recovery.store.sql.room import Room, columns_of, differences, inserted, load_all, values_of

_ROW = columns_of(Recovery, recoveries)
_RECOVERY = select(*_ROW)
_BY_ID = _RECOVERY.where(recoveries.c.id == bindparam("of"))
_BY_PREFIX = select(recoveries.c.id).where(func.substr(recoveries.c.id, 1, bindparam("length")) == bindparam("prefix")).limit(2)
_OPEN_OF = _RECOVERY.where(recoveries.c.service == bindparam("of"), IS_OPEN)
_AS_IT_IS = select(*columns_of(Restless, recoveries)).where(recoveries.c.id == bindparam("of")).with_for_update()
_OPEN_ALL = _RECOVERY.where(IS_OPEN).order_by(*URGENCY)
_DUE = (
    select(recoveries.c.id)
    .where(
        IS_OPEN,
        recoveries.c.due_at.is_not(None),
        or_(recoveries.c.due_at <= bindparam("now"), recoveries.c.touched_at > bindparam("at_most")),
    )
    .order_by(recoveries.c.due_at, *URGENCY)
    .limit(bindparam("how_many"))
)
_END_QUIET = (
    update(recoveries).where(recoveries.c.service == bindparam("of"), recoveries.c.quiet_until.is_not(None)).values(quiet_until=None)
)
_SET = update(recoveries).where(recoveries.c.id == bindparam("of"))
_CANCEL = (
    _SET.where(IS_OPEN)
    .values(cancel_requested=True, reason=bindparam("why"), due_at=bindparam("now"), touched_at=bindparam("now"))
    .returning(*_ROW)
)


class SqlRecoveries(Room):
    """The part of `ports.RecoveryStore` that decides what a recovery is."""

    def recovery(self, recovery_id: str) -> Recovery | None:
        """Return one recovery, by full id or by a unique prefix of at least 6 characters."""
        with self._reading() as connection:
            exact = _one(connection, _BY_ID, of=recovery_id)
            if exact is not None or len(recovery_id) < PREFIX_LENGTH:
                return exact
            matches = connection.execute(_BY_PREFIX, {"length": len(recovery_id), "prefix": recovery_id}).scalars()
            return _one(connection, _BY_ID, of=matches[0]) if len(matches) == 1 else None

    def open_recovery_of(self, service: str) -> Recovery | None:
        """Return the open recovery of `service`, if any."""
        with self._reading() as connection:
            return _one(connection, _OPEN_OF, of=service)

    def open_recoveries(self) -> list[Recovery]:
        """Return all open recoveries, most severe and oldest first."""
        with self._reading() as connection:
            return load_all(Recovery, connection.execute(_OPEN_ALL))

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return ids of open recoveries whose `due_at` has come, or was written by a clock that ran ahead; the longest due first."""
        with self._reading() as connection:
            return list(connection.execute(_DUE, {"now": now, "at_most": now + SKEW, "how_many": limit}).scalars())

    def transition(
        self,
        before: Recovery,
        after: Recovery,
        *,
        attempt: Attempt | None = None,
        decisions: Sequence[Decision] = (),
        events: Sequence[Event] = (),
        mitigation: Mitigation | None = None,
        ended: Mitigation | None = None,
        approval: Approval | None = None,
        basis: Basis | None = None,
        quota: Quota | None = None,
        now: datetime | None = None,
    ) -> Recovery | None:
        """Replace `before` by `after` if the row still has `before.version`, with all the rows that belong to it."""
        with self._writing() as connection:
            if quota is not None and not allows(connection, quota, before):
                return None
            row = connection.execute(_AS_IT_IS, {"of": before.id}).first(Restless)
            if row is None or row.version != before.version:
                return None
            result = stored(row, before, after)
            self._set(connection, result, _news(before, row, result), now)
            if attempt is not None:
                connection.execute(self._upsert(attempts), values_of(attempt))
            if begins(before, after):
                connection.execute(_END_QUIET, {"of": before.service})
            if ended is not None:
                lift(connection, ended)
            if mitigation is not None:
                put(connection, mitigation)
            if approval is not None:
                connection.execute(self._upsert(approvals), values_of(approval))
            news = note(connection, decisions, events)
            if basis is not None and (news or not decisions):
                connection.execute(inserted(bases), {**values_of(basis), "decisions": list(basis.decisions)})
            return result

    def request_cancel(self, recovery_id: str, reason: str, now: datetime) -> Recovery | None:
        """Mark an open recovery as to be cancelled and make it due; None if it is closed or unknown."""
        with self._writing() as connection:
            return _one(connection, _CANCEL, of=recovery_id, why=reason, now=now)

    @staticmethod
    def _set(connection: DirectConnection, result: Recovery, news: dict[str, Any], now: datetime | None) -> None:
        if now:
            news["touched_at"] = now
        if "finished_at" in news:
            news["recovery_seconds"] = result.recovery_seconds
        connection.execute(_SET, {"of": result.id, **news})


def _news(before: Recovery, row: Restless, result: Recovery) -> dict[str, Any]:
    """Return what is not in the row yet: the plan is large and always is."""
    news = differences(before, result)
    for name, there in values_of(row).items():
        value = getattr(result, name)
        if value == there:
            news.pop(name, None)
        else:
            news[name] = value
    return news


def _one(connection: DirectConnection, query: Any, **values: Any) -> Recovery | None:
    return connection.execute(query, values).first(Recovery)

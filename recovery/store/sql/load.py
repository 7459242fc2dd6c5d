"""How much is under way over the whole fleet, counted so that no two recoveries take the last place."""

from datetime import datetime

from sqlalchemy import BigInteger, and_, bindparam, case, func, or_, select, text, update

from recovery.models import Load, Quota, Recovery, RecoveryState, Severity
from recovery.store.rules import ASKED_FOR
from recovery.store.schema import IS_OPEN, recoveries
from recovery.store.sql.room import AnyConnection, Room

_QUOTA_LOCK = 0x7265_6376_7175_6F74
"""Key of PostgreSQL's lock around the counting: the letters `recvquot`. On SQLite every writing transaction is alone."""

_LOCK = text("SELECT pg_advisory_xact_lock(:key)").bindparams(bindparam("key", type_=BigInteger))
_RANK = case({str(severity): severity.rank for severity in Severity}, value=recoveries.c.severity)
URGENCY = (_RANK, recoveries.c.created_at, recoveries.c.id)
"""What open recoveries are ordered by."""
_BY_ITSELF = and_(*(recoveries.c.kind != kind for kind in sorted(ASKED_FOR)))
_WORKS = recoveries.c.state == RecoveryState.IN_PROGRESS
_OLDER = or_(
    recoveries.c.created_at < bindparam("created"),
    and_(recoveries.c.created_at == bindparam("created"), recoveries.c.id < bindparam("me")),
)
_AHEAD = and_(recoveries.c.held_by == bindparam("guard"), or_(bindparam("rank") > _RANK, and_(bindparam("rank") == _RANK, _OLDER)))
_OPEN_NOW = select(func.count().filter(_WORKS), func.count().filter(_BY_ITSELF), func.count().filter(_AHEAD)).where(IS_OPEN)
_BEGUN = select(func.count()).select_from(recoveries).where(recoveries.c.started_at >= bindparam("since"))
_OTHERS_AT_WORK = select(func.count()).select_from(recoveries).where(IS_OPEN, _WORKS, recoveries.c.id != bindparam("me"))
_OTHERS_BEGUN = _BEGUN.where(recoveries.c.id != bindparam("me"))
_HELD = select(recoveries.c.id).where(IS_OPEN, recoveries.c.held_by == bindparam("guard")).order_by(*URGENCY).limit(bindparam("how_many"))
_LATER = or_(recoveries.c.due_at.is_(None), recoveries.c.due_at > bindparam("now"))
_WAKE = update(recoveries).where(IS_OPEN, _LATER).values(due_at=bindparam("now"), touched_at=bindparam("now"))
_IN_ORDER = (
    select(recoveries.c.id)
    .where(IS_OPEN)
    .order_by(recoveries.c.service)  # everybody locks in the same order, so nobody waits in a circle
    .with_for_update()
    .correlate(None)
)
_WAKE_THESE = _WAKE.where(recoveries.c.id.in_(_IN_ORDER.where(recoveries.c.id.in_(bindparam("of", expanding=True)))))
_WAKE_ONE = _WAKE.where(recoveries.c.id == bindparam("of"))
_WAKE_ALL = _WAKE.where(recoveries.c.id.in_(_IN_ORDER.where(recoveries.c.held_by == bindparam("guard"))))


class SqlLoad(Room):
    """The part of `ports.RecoveryStore` that looks at all recoveries at once."""

    def load(self, recovery: Recovery | None, guard: str, since: datetime) -> Load:
        """Return what is under way over the fleet."""
        if recovery is None:
            me = {"rank": len(Severity), "created": since, "me": ""}  # nothing is less urgent
        else:
            me = {"rank": recovery.severity.rank, "created": recovery.created_at, "me": recovery.id}
        with self._reading() as connection:
            in_progress, open_now, more_urgent = connection.execute(_OPEN_NOW, {"guard": guard, **me}).one()
            begun = connection.execute(_BEGUN, {"since": since}).scalar_one()
        return Load(in_progress=in_progress, open=open_now, begun=begun, ahead=more_urgent)

    def wake_held(self, guard: str, limit: int, now: datetime) -> int:
        """Make the `limit` most urgent open recoveries that `guard` holds due now; return how many there were."""
        with self._reading() as connection:
            held = list(connection.execute(_HELD, {"guard": guard, "how_many": limit}).scalars())
        if held:
            with self._composing() as connection:
                connection.execute(_WAKE_THESE, {"of": sorted(held), "now": now})
        return len(held)


def allows(connection: AnyConnection, quota: Quota, of: Recovery) -> bool:
    """Say whether one more recovery may begin; nobody else counts until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"key": _QUOTA_LOCK})
    if connection.execute(_OTHERS_AT_WORK, {"me": of.id}).scalar_one() >= quota.concurrent:
        return False
    if quota.actions is None or quota.since is None:
        return True
    begun: int = connection.execute(_OTHERS_BEGUN, {"me": of.id, "since": quota.since}).scalar_one()
    return begun < quota.actions


def wake(connection: AnyConnection, recovery_id: str, now: datetime) -> None:
    """Make one open recovery due now, unless it is already."""
    connection.execute(_WAKE_ONE, {"of": recovery_id, "now": now})


def wake_all(connection: AnyConnection, guard: str, now: datetime) -> None:
    """Make every open recovery that `guard` holds due now."""
    connection.execute(_WAKE_ALL, {"guard": guard, "now": now})

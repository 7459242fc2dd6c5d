"""Jobs that one process alone may do: one row each, taken and kept by conditional writes."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, case, or_, update

from recovery.store.rules import latest_honest
from recovery.store.schema import leadership
from recovery.store.sql.room import Room, changed, dialect_insert

_RESIGN = update(leadership).where(leadership.c.name == bindparam("job"), leadership.c.holder == bindparam("mine")).values(holder=None)


@cache
def _lead(dialect: str) -> Any:
    """Take a job, or keep it; returns the fence, or nothing while somebody else has the job."""
    insert = dialect_insert(dialect, leadership)
    mine = leadership.c.holder == insert.excluded.holder
    moment = leadership.c.until.type
    over = or_(leadership.c.until <= bindparam("now", type_=moment), leadership.c.until > bindparam("latest", type_=moment))
    return insert.on_conflict_do_update(
        index_elements=["name"],
        set_={
            "holder": insert.excluded.holder,
            "until": insert.excluded.until,
            "fence": leadership.c.fence + case((mine, 0), else_=1),
        },
        where=or_(mine, leadership.c.holder.is_(None), over),
    ).returning(leadership.c.fence)


class SqlLeadership(Room):
    """Implements `ports.Leadership`."""

    def lead(self, name: str, holder: str, now: datetime, until: datetime) -> int | None:
        """Take or keep the job `name` until `until`; None: somebody else has it."""
        row = {"name": name, "holder": holder, "fence": 1, "until": until, "now": now, "latest": latest_honest(now, until)}
        with self._writing() as connection:
            fence: int | None = connection.execute(_lead(connection.dialect.name), row).scalar()
        return fence

    def resign(self, name: str, holder: str) -> None:
        """Give the job up, so that the next one need not wait; does nothing if somebody else has it."""
        with self._writing() as connection:
            changed(connection, _RESIGN, job=name, mine=holder)

"""Claims on services: one row each, taken and kept by conditional writes."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from recovery.clocks import still_runs
from recovery.models import Lease
from recovery.store.rules import lease_lost
from recovery.store.schema import leases
from recovery.store.sql.room import AnyConnection, Room, changed, columns_of, dialect_insert, load_all

_MINE = (leases.c.service == bindparam("of")) & (leases.c.fence == bindparam("mine")) & leases.c.holder.is_not(None)
_RENEW = update(leases).where(_MINE)
_RELEASE = update(leases).where(_MINE).values(holder=None)
_LEASES = select(*columns_of(Lease, leases)).where(leases.c.holder.is_not(None)).order_by(leases.c.service)
_LEASE = _LEASES.where(leases.c.service == bindparam("of"))
_HELD = select(leases.c.until, leases.c.seconds).where(leases.c.service == bindparam("of")).with_for_update()
_GIVE_UP = update(leases).where(leases.c.service == bindparam("of")).values(holder=None)


@cache
def _claim(dialect: str) -> Any:
    """Insert the first claim on a service, or take over one that is over; returns the fence, or nothing while somebody has it."""
    insert = dialect_insert(dialect, leases)
    taken = {name: insert.excluded[name] for name in ("recovery_id", "holder", "until", "seconds")}
    over = or_(leases.c.holder.is_(None), leases.c.until <= bindparam("now", type_=leases.c.until.type))
    return insert.on_conflict_do_update(index_elements=["service"], set_={"fence": leases.c.fence + 1, **taken}, where=over).returning(
        leases.c.fence
    )


class SqlLeases(Room):
    """Implements `ports.LeaseStore`."""

    def acquire_lease(self, service: str, recovery_id: str, holder: str, now: datetime, until: datetime) -> Lease | None:
        """Claim `service` if nobody's claim is alive at `now`; the fence rises by one. None: somebody holds it."""
        seconds = (until - now).total_seconds()
        row = {"service": service, "recovery_id": recovery_id, "holder": holder, "fence": 1, "until": until, "seconds": seconds}
        with self._writing() as connection:
            claim = _claim(connection.dialect.name)
            fence = connection.execute(claim, {**row, "now": now}).scalar()
            if fence is None and _is_implausible(connection, service, now):
                connection.execute(_GIVE_UP, {"of": service})
                fence = connection.execute(claim, {**row, "now": now}).scalar()
        return None if fence is None else Lease(service, recovery_id, holder, fence, until)

    def renew_lease(self, lease: Lease, until: datetime) -> Lease:
        """Extend the claim; raises `LeaseLost` if its fence is not the newest."""
        with self._writing() as connection:
            if not changed(connection, _RENEW, of=lease.service, mine=lease.fence, until=until):
                raise lease_lost(lease)
        return Lease(lease.service, lease.recovery_id, lease.holder, lease.fence, until)

    def release_lease(self, lease: Lease) -> None:
        """Give the claim up; does nothing if it was lost already."""
        with self._writing() as connection:
            changed(connection, _RELEASE, of=lease.service, mine=lease.fence)

    def holds(self, lease: Lease) -> bool:
        """Say whether `lease` is still the newest of its service and was not given back."""
        newest = self.lease_of(lease.service)
        return newest is not None and newest.fence == lease.fence

    def lease_of(self, service: str) -> Lease | None:
        """Return the newest claim on `service`, alive or expired; None if it was given up or never claimed."""
        with self._reading() as connection:
            return connection.execute(_LEASE, {"of": service}).first(Lease)

    def leases(self) -> list[Lease]:
        """Return every claim that was not given up, alive or expired."""
        with self._reading() as connection:
            return load_all(Lease, connection.execute(_LEASES))


def _is_implausible(connection: AnyConnection, service: str, now: datetime) -> bool:
    """Say whether the claim on `service` was made by a clock that has been set back since; locks its row."""
    row = connection.execute(_HELD, {"of": service}).first()
    return row is not None and not still_runs(row.until - timedelta(seconds=row.seconds), row.until, now)

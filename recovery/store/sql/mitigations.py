"""Remedies that are in place, one row each until they end."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from recovery.models import Event, Mitigation
from recovery.store.schema import mitigations
from recovery.store.sql.ledger import note
from recovery.store.sql.room import AnyConnection, Room, changed, columns_of, load_all, upsert, values_of

_ALL = select(*columns_of(Mitigation, mitigations)).order_by(mitigations.c.service, mitigations.c.strategy)
_LIFT = delete(mitigations).where(mitigations.c.service == bindparam("of"), mitigations.c.strategy == bindparam("by"))
_END = _LIFT.where(mitigations.c.recovery_id == bindparam("put_by"), mitigations.c.since == bindparam("put_at"))


class SqlMitigations(Room):
    """The mitigations of `ports.RecoveryStore`."""

    def mitigations(self) -> list[Mitigation]:
        """Return the remedies that are in place."""
        with self._reading() as connection:
            return load_all(Mitigation, connection.execute(_ALL))

    def end_mitigation(self, mitigation: Mitigation, events: Sequence[Event]) -> bool:
        """Remove a mitigation that ended by itself; False if it is gone or was replaced by a newer one."""
        exactly = {"of": mitigation.service, "by": mitigation.strategy, "put_by": mitigation.recovery_id, "put_at": mitigation.since}
        with self._writing() as connection:
            ended = changed(connection, _END, **exactly)
            if ended:
                note(connection, (), events)
        return ended


def put(connection: AnyConnection, mitigation: Mitigation) -> None:
    """Put a remedy in place, instead of one of the same service and strategy."""
    connection.execute(upsert(connection.dialect.name, mitigations), values_of(mitigation))


def lift(connection: AnyConnection, mitigation: Mitigation) -> None:
    """Remove a remedy, whoever put it there."""
    connection.execute(_LIFT, {"of": mitigation.service, "by": mitigation.strategy})

"""The quiet of recoveries that were left alone: it goes on as long as nothing has changed, so that one sickness is one row."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, select, update

from recovery.models import Decision, Kind, Recovery, RecoveryState
from recovery.store.schema import IS_CLOSED, recoveries
from recovery.store.sql.ledger import count
from recovery.store.sql.room import Room, changed, columns_of, load_all

_ENDING = (
    select(*columns_of(Recovery, recoveries))
    .where(
        IS_CLOSED,
        recoveries.c.quiet_until > bindparam("now"),
        recoveries.c.quiet_until <= bindparam("until"),
        recoveries.c.attempt == bindparam("none"),
        recoveries.c.kind == Kind.AUTOMATIC,
        recoveries.c.state.in_([RecoveryState.SUPPRESSED, RecoveryState.FAILED]),
    )
    .order_by(recoveries.c.quiet_until, recoveries.c.id)
    .limit(bindparam("how_many"))
)
_PROLONG = (
    update(recoveries)
    .where(recoveries.c.id == bindparam("of"), IS_CLOSED, recoveries.c.quiet_until == bindparam("ended"))
    .values(quiet_until=bindparam("until"))
)


class SqlQuiet(Room):
    """The part of `ports.RecoveryStore` that lets what was left alone stay left alone."""

    def quiet_ending(self, now: datetime, until: datetime, limit: int) -> list[Recovery]:
        """Return what was left alone and ends being quiet after `now` and by `until`, the first to end first."""
        with self._asking() as connection:
            return load_all(Recovery, connection.execute(_ENDING, {"now": now, "until": until, "none": 0, "how_many": limit}))

    def prolong(self, left: Recovery, until: datetime, decisions: Sequence[Decision]) -> bool:
        """Let the quiet of a closed recovery end later, and count the decisions that it rests on."""
        with self._writing() as connection:
            if not changed(connection, _PROLONG, of=left.id, ended=left.quiet_until, until=until):
                return False
            for decision in decisions:
                count(connection, decision)
            return True

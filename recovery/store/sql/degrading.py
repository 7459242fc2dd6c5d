"""Standings of automatic rules of degradation, what else is in force, and events that go into the audit trail as well.

What changes by itself is moved on by compare and swap, so that of many workers one tells it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from recovery.degrade.plain import as_table, from_table
from recovery.models import Degradation, Event, RuleStanding
from recovery.store.rules import audited
from recovery.store.schema import audit, degradation_rules, degraded
from recovery.store.sql.ledger import note
from recovery.store.sql.room import AnyConnection, Room, changed, columns_of, dialect_insert, insert_all, load_all, values_of

_ALL = select(*columns_of(RuleStanding, degradation_rules))
_MINE = (degradation_rules.c.rule == bindparam("of"), degradation_rules.c.version == bindparam("seen"))
_MOVE = (
    update(degradation_rules)
    .where(*_MINE)
    .values({column.name: bindparam(f"new_{column.name}") for column in degradation_rules.columns if column.name != "rule"})
)
_FORGET = delete(degradation_rules).where(*_MINE)
_DEGRADED = select(degraded.c.value).order_by(degraded.c.service, degraded.c.layer)
_THERE = delete(degraded).where(degraded.c.service == bindparam("of"), degraded.c.layer == bindparam("in_layer"))
_DROP = _THERE.where(degraded.c.fence <= bindparam("seen"))
_LAPSE = _THERE.where(degraded.c.fence == bindparam("seen"), degraded.c.until <= bindparam("now"))


@cache
def _keep(dialect: str) -> Any:
    """Insert what is in force, or replace what is no newer."""
    insert = dialect_insert(dialect, degraded)
    news = {name: insert.excluded[name] for name in ("fence", "until", "value")}
    return insert.on_conflict_do_update(index_elements=["service", "layer"], set_=news, where=degraded.c.fence <= insert.excluded.fence)


class SqlDegrading(Room):
    """Implements `ports.RuleStore`."""

    def rule_standings(self) -> dict[str, RuleStanding]:
        """Return how each rule stands that ever held, by name."""
        with self._reading() as connection:
            return {row.rule: row for row in load_all(RuleStanding, connection.execute(_ALL))}

    def move_rule(self, before: RuleStanding | None, after: RuleStanding | None, events: Sequence[Event] = ()) -> bool:
        """Replace `before` by `after` if nobody else has, with its events; False: somebody was faster."""
        with self._writing() as connection:
            moved = _move(connection, before, after)
            if moved:
                _tell(connection, events)
        return moved

    def record_audited(self, events: Sequence[Event]) -> None:
        """Store events with a row in the audit trail each."""
        with self._writing() as connection:
            _tell(connection, events)

    def degraded(self) -> list[Degradation]:
        """Return what people and remedies put in force and whose end is not told yet, by service and layer."""
        with self._reading() as connection:
            return [from_table(row.value) for row in connection.execute(_DEGRADED)]

    def record_degraded(self, degradation: Degradation, events: Sequence[Event], *, stays: bool) -> None:
        """Keep what is in force in its layer from now on, or forget it, unless something newer is there; its events are stored."""
        with self._writing() as connection:
            if stays:
                row = {"service": degradation.service, "layer": degradation.layer, "fence": degradation.fence}
                connection.execute(_keep(connection.dialect.name), {**row, "until": degradation.until, "value": as_table(degradation)})
            else:
                connection.execute(_DROP, _named(degradation))
            _tell(connection, events)

    def lapse_degraded(self, degradation: Degradation, events: Sequence[Event], now: datetime) -> bool:
        """Forget a degradation that is over at `now`, with its events; False: somebody was faster, or put it again."""
        with self._writing() as connection:
            lapsed = changed(connection, _LAPSE, **_named(degradation), now=now)
            if lapsed:
                _tell(connection, events)
        return lapsed


def _named(degradation: Degradation) -> dict[str, Any]:
    return {"of": degradation.service, "in_layer": degradation.layer, "seen": degradation.fence}


def _move(connection: AnyConnection, before: RuleStanding | None, after: RuleStanding | None) -> bool:
    if before is None:
        insert = dialect_insert(connection.dialect.name, degradation_rules).on_conflict_do_nothing(index_elements=["rule"])
        return after is not None and changed(connection, insert, **values_of(replace(after, version=after.version + 1)))
    mine = {"of": before.rule, "seen": before.version}
    if after is None:
        return changed(connection, _FORGET, **mine)
    fields = values_of(replace(after, version=after.version + 1))
    return changed(connection, _MOVE, **mine, **{f"new_{name}": value for name, value in fields.items() if name != "rule"})


def _tell(connection: AnyConnection, events: Sequence[Event]) -> None:
    note(connection, (), events)
    insert_all(connection, audit, [audited(event) for event in events])

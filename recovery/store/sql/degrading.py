"""Standings of automatic rules of degradation, moved on by compare and swap, and events that go into the audit trail as well."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, delete, select, update

from recovery.models import Event, RuleStanding
from recovery.store.rules import audited
from recovery.store.schema import audit, degradation_rules
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

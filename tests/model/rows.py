"""All that a store holds, in a form in which two stores can be compared: read by queries here, out of the dictionaries there."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Table, delete, select

from recovery.models import Approval, Attempt, Event, Lease, Mitigation, Pulse, Recovery, ServiceState, Silence, Step
from recovery.store import schema
from recovery.store.memory import MemoryStore
from recovery.store.sql import SqlStore
from recovery.store.sql.room import columns_of, load_all

NOTED = ("service", "choice", "guard", "strategy", "recovery_id", "reason", "at", "until")
"""Of a decision."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one store, by their keys; decisions and events in their order for each service."""

    recoveries: dict[str, Recovery]
    attempts: dict[tuple[str, int], Attempt]
    steps: dict[tuple[str, int, int], Step]
    leases: dict[str, Lease]
    mitigations: dict[tuple[str, str], Mitigation]
    approvals: dict[str, Approval]
    silences: dict[str, Silence]
    services: dict[str, ServiceState]
    pulses: dict[str, Pulse]
    failures: dict[str, str]
    decisions: dict[str, list[tuple[Any, ...]]]
    events: dict[str | None, list[Event]]
    bases: dict[str, int]
    """How many there are of each recovery."""

    def differences(self, other: "Rows") -> list[str]:
        """Say where two stores disagree."""
        parts = [(part.name, getattr(self, part.name), getattr(other, part.name)) for part in fields(self)]
        return [
            f"{name} of {key}: {ours.get(key)} and {theirs.get(key)}"
            for name, ours, theirs in parts
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key)
        ]


def rows_in_memory(store: MemoryStore) -> Rows:
    """Return what a store in memory holds."""
    tables = store._tables
    return Rows(
        recoveries=dict(tables.recoveries),
        attempts=dict(tables.attempts),
        steps=dict(tables.steps),
        leases={lease.service: lease for lease in store.leases()},
        mitigations=dict(tables.mitigations),
        approvals=dict(tables.approvals),
        silences=dict(tables.silences),
        services=dict(tables.services),
        pulses=dict(tables.pulses),
        failures={failure_id: owner for failure_id, (owner, _) in tables.failures.items()},
        decisions=_by_first((*(getattr(row.decision, name) for name in NOTED), row.repeats, row.last_at) for row in tables.decisions),
        events=_told(tables.events),
        bases=_counted(basis.recovery_id for basis in tables.bases),
    )


def rows_in_database(store: SqlStore) -> Rows:
    """Return what a database holds."""
    with store.engine.begin() as connection:

        def every(kind: Any, table: Table) -> Iterable[Any]:
            return load_all(kind, connection.execute(select(*columns_of(kind, table))))

        decisions, failures = schema.decisions, schema.failures
        noted = select(*(decisions.c[name] for name in (*NOTED, "repeats", "last_at"))).order_by(decisions.c.id)
        events = select(*columns_of(Event, schema.events)).order_by(schema.events.c.id)
        silences = every(Silence, schema.silences)
        leases = every(Lease, schema.leases)
        return Rows(
            recoveries={row.id: row for row in every(Recovery, schema.recoveries)},
            attempts={(row.recovery_id, row.number): row for row in every(Attempt, schema.attempts)},
            steps={(row.recovery_id, row.attempt, row.position): row for row in every(Step, schema.steps)},
            leases={row.service: row for row in leases if row.holder is not None},
            mitigations={(row.service, row.strategy): row for row in every(Mitigation, schema.mitigations)},
            approvals={row.recovery_id: row for row in every(Approval, schema.approvals)},
            silences={row.id: replace(row, services=tuple(row.services)) for row in silences},
            services={row.service: row for row in every(ServiceState, schema.service_states)},
            pulses={row.name: row for row in every(Pulse, schema.pulses)},
            failures={row.failure_id: row.recovery_id for row in connection.execute(select(failures.c.failure_id, failures.c.recovery_id))},
            decisions=_by_first(map(tuple, connection.execute(noted))),
            events=_told(load_all(Event, connection.execute(events))),
            bases=_counted(connection.execute(select(schema.bases.c.recovery_id)).scalars()),
        )


def _by_first(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _told(events: Iterable[Event]) -> dict[str | None, list[Event]]:
    found: dict[str | None, list[Event]] = {}
    for event in events:
        found.setdefault(event.service, []).append(replace(event, data={}))
    return found


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def empty(store: SqlStore) -> None:
    """Delete every row, for the next story: opening another database would compile every statement again."""
    with store.engine.begin() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(delete(table))

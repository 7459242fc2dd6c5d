"""Samples, running verdicts and service states. A sweep is stored as a whole or not at all."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update

from recovery.clocks import ahead, check_until
from recovery.models import CheckState, Event, Sample, ServiceState
from recovery.store.rules import later, newer_check, seen_before_start, seen_service, sweep_is_due
from recovery.store.schema import check_states, samples, service_states, sweeps
from recovery.store.sql.ledger import note
from recovery.store.sql.room import AnyConnection, Room, columns_of, dialect_insert, insert_all, load_all, values_of

_CHECKS = select(*columns_of(CheckState, check_states)).where(check_states.c.service.in_(bindparam("of", expanding=True)))
_ALL_SERVICES = select(*columns_of(ServiceState, service_states))
_SERVICES = (
    _ALL_SERVICES.where(service_states.c.service.in_(bindparam("of", expanding=True)))
    .order_by(service_states.c.service)  # everybody locks in the same order, so nobody waits in a circle
    .with_for_update()
)
_SERVICE = _ALL_SERVICES.where(service_states.c.service == bindparam("of")).with_for_update()
_CLEAR = delete(check_states).where(check_states.c.service == bindparam("of"))
_SWEPT = select(sweeps.c.at).where(sweeps.c.key == bindparam("of")).with_for_update()
_SWEEP = update(sweeps).where(sweeps.c.key == bindparam("of"))


class SqlHealth(Room):
    """Implements `ports.HealthStore`."""

    def claim_sweep(self, key: str, now: datetime, interval: float) -> bool:
        """Claim one sweep; False if one with this key began less than half an `interval` ago."""
        with self._writing() as connection:
            last = connection.execute(_SWEPT, {"of": key}).scalar()
            if last is None:
                first = dialect_insert(self._engine.dialect.name, sweeps).values(key=key, at=now)
                return connection.execute(first.on_conflict_do_nothing().returning(sweeps.c.key)).scalar() is not None
            if not sweep_is_due(last, now, interval):
                return False
            connection.execute(_SWEEP, {"of": key, "at": now})
            return True

    def check_states(self, services: Collection[str]) -> dict[tuple[str, str], CheckState]:
        """Return the running verdicts of these services, by (service, check)."""
        with self._asking() as connection:
            rows = load_all(CheckState, connection.execute(_CHECKS, {"of": sorted(services)}))
        return {(row.service, row.check): row for row in rows}

    def service_states(self) -> dict[str, ServiceState]:
        """Return what is known about every service, by name."""
        with self._reading() as connection:
            return {row.service: row for row in load_all(ServiceState, connection.execute(_ALL_SERVICES))}

    def record_sweep(
        self,
        samples: Sequence[Sample],
        checks: Sequence[CheckState],
        services: Sequence[ServiceState],
        events: Sequence[Event],
        now: datetime | None = None,
    ) -> None:
        """Store one sweep in one transaction; what is older than the stored row, or than the last start, is dropped.

        A service whose checks were seen before its last start keeps its state: the next sweep looks again.
        """
        names = sorted({state.service for state in checks} | {state.service for state in services})
        with self._composing() as connection:
            insert_samples(connection, samples)
            known = {row.service: row for row in load_all(ServiceState, connection.execute(_SERVICES, {"of": names}))}
            verdicts = load_all(CheckState, connection.execute(_CHECKS, {"of": names}))
            by_check = {(row.service, row.check): row for row in verdicts}
            outdated = {state.service for state in checks if seen_before_start(known.get(state.service), state, now)}
            fresh = [state for state in checks if not seen_before_start(known.get(state.service), state, now)]
            fresh = [check_until(state, now) for state in fresh if newer_check(by_check.get((state.service, state.check)), state, now)]
            seen = [seen_service(known.get(state.service), state, now) for state in services if state.service not in outdated]
            self._put(connection, fresh, seen)
            note(connection, (), events)

    def _put(self, connection: AnyConnection, checks: Sequence[CheckState], services: Sequence[ServiceState]) -> None:
        if services:
            rows = [values_of(state) for state in sorted(services, key=lambda state: state.service)]
            connection.execute(self._upsert(service_states), rows)
        if checks:
            rows = [values_of(state) for state in sorted(checks, key=lambda state: (state.service, state.check))]
            connection.execute(self._upsert(check_states), rows)

    def mark_started(self, service: str, at: datetime) -> None:
        """Note that a remedy (re)started `service`: `start_grace` counts from `at`, running verdicts of its checks are cleared."""
        with self._writing() as connection:
            row = next(iter(load_all(ServiceState, connection.execute(_SERVICE, {"of": service}))), ServiceState(service))
            self._put(connection, (), [replace(row, started_at=at if ahead(row.started_at, at) else later(row.started_at, at))])
            connection.execute(_CLEAR, {"of": service})


def insert_samples(connection: Connection, rows: Sequence[Sample]) -> None:
    """Insert what the checks saw."""
    insert_all(connection, samples, [values_of(sample) for sample in rows])

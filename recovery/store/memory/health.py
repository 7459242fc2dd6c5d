"""Samples, running verdicts and service states, in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from recovery.clocks import ahead, check_until
from recovery.models import CheckState, Event, Sample, ServiceState
from recovery.store.memory.tables import Room
from recovery.store.rules import later, newer_check, seen_before_start, seen_service, sweep_is_due


class MemoryHealth(Room):
    """Implements `ports.HealthStore`."""

    @property
    def samples(self) -> list[Sample]:
        """Return every stored sample, oldest first."""
        with self._tables.lock:
            return list(self._tables.samples)

    def claim_sweep(self, key: str, now: datetime, interval: float) -> bool:
        """Claim one sweep; False if one with this key began less than half an `interval` ago."""
        with self._tables.lock:
            last = self._tables.sweeps.get(key)
            if last is not None and not sweep_is_due(last, now, interval):
                return False
            self._tables.sweeps[key] = now
            return True

    def check_states(self, services: Collection[str]) -> dict[tuple[str, str], CheckState]:
        """Return the running verdicts of these services, by (service, check)."""
        with self._tables.lock:
            return {key: state for key, state in self._tables.checks.items() if key[0] in services}

    def service_states(self) -> dict[str, ServiceState]:
        """Return what is known about every service, by name."""
        with self._tables.lock:
            return dict(self._tables.services)

    def record_sweep(
        self,
        samples: Sequence[Sample],
        checks: Sequence[CheckState],
        services: Sequence[ServiceState],
        events: Sequence[Event],
        now: datetime | None = None,
    ) -> None:
        """Store one sweep; what is older than the stored row, or than the last start, is dropped.

        A service whose checks were seen before its last start keeps its state: the next sweep looks again.
        """
        tables = self._tables
        with tables.lock:
            tables.samples.extend(samples)
            outdated = {state.service for state in checks if seen_before_start(tables.services.get(state.service), state, now)}
            for state in checks:
                before_start = seen_before_start(tables.services.get(state.service), state, now)
                if not before_start and newer_check(tables.checks.get((state.service, state.check)), state, now):
                    tables.checks[state.service, state.check] = check_until(state, now)
            for service in services:
                if service.service not in outdated:
                    tables.services[service.service] = seen_service(tables.services.get(service.service), service, now)
            tables.events.extend(events)

    def mark_started(self, service: str, at: datetime) -> None:
        """Note that a remedy (re)started `service`: `start_grace` counts from `at`, running verdicts of its checks are cleared."""
        tables = self._tables
        with tables.lock:
            row = tables.services.get(service, ServiceState(service))
            tables.services[service] = replace(row, started_at=at if ahead(row.started_at, at) else later(row.started_at, at))
            for key in [key for key in tables.checks if key[0] == service]:
                del tables.checks[key]
